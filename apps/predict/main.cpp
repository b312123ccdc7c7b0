// predict: image files, or vectors, in; the likeliest classes, how noisy their label would be, and what they would be
// taken for.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <limits>
#include <optional>
#include <span>

#include "apps/common/config/cli.h"
#include "apps/common/config/progress.h"
#include "apps/predict/asked_model.h"
#include "apps/predict/files.h"
#include "apps/predict/predictor.h"
#include "apps/predict/results.h"
#include "core/error.h"
#include "core/mpi.h"
#include "core/text.h"
#include "data/image_paths.h"

namespace sked {
namespace {

/// The files of the command line and of --list, folders opened: as the first rank finds them, which has stdin.
std::vector<std::string> files_asked(const PredictArguments& wanted, Results& results, Communicator& ranks) {
  std::vector<std::string> given = wanted.images;
  ImagePaths images;
  if (ranks.rank() == 0) {
    if (!wanted.list.empty()) std::ranges::copy(listed_paths(wanted.list), std::back_inserter(given));
    images = image_paths(given);
    if (images.others > 0) note(other_files(images));
  }
  for (const std::string& why : all_gather_texts(ranks, images.refused)) results.refuse(why);
  return all_gather_texts(ranks, images.paths);
}

/// In groups, so that the first answers do not wait for the last file's address.
void answer_files(const std::vector<std::string>& paths, Predictor& predictor, Results& results, Communicator& ranks,
                  bool quiet) {
  constexpr size_t kGroup = 256;
  const auto refuse = [&](const std::string& why) { results.refuse(why); };
  Progress progress("predict", 0, static_cast<int64_t>(paths.size()), 1, quiet, "image");
  for (size_t begin = 0; begin < paths.size(); begin += kGroup) {
    const size_t end = std::min(begin + kGroup, paths.size());
    const std::vector<std::string> group(paths.begin() + static_cast<ptrdiff_t>(begin),
                                         paths.begin() + static_cast<ptrdiff_t>(end));
    size_t done = begin;
    predictor.answer(readable(group, refuse, ranks), refuse, [&](const std::vector<Answer>& answers) {
      progress.clear();
      results.add(answers);
      progress.update(static_cast<int64_t>(done += answers.size()));
    });
    progress.update(static_cast<int64_t>(end));
  }
}

/// Has everything an answer?
bool predict(PredictArguments wanted, const CommonOptions& common) {
  Communicator& ranks = world();
  require_usage(!wanted.images.empty() || !wanted.list.empty(), "predict",
                "expected image files or folders behind the checkpoint, or --list FILE (see --help)");
  const AskedModel s = load_asked_model(wanted, common, ranks);
  const char* key = s.vectors ? "id" : "image";
  check_outputs(wanted, key);
  if (ranks.rank() > 0) wanted.json = wanted.csv = wanted.html = "";  // the first rank writes
  const size_t shown = s.vectors ? static_cast<size_t>(wanted.rows) : std::numeric_limits<size_t>::max();
  Results results(wanted,
                  {.model = wanted.checkpoint,
                   .command = common.command,
                   .zero_shot = s.contrastive(),
                   .deterministic = !s.contrastive() && s.config().head.kind == HeadKind::det},
                  s.names, key, shown, ranks.rank() == 0);
  FILE* messages = wanted.only_results() ? stderr : stdout;
  const auto say = [&](const std::string& line) { std::fprintf(messages, "%s\n", printable(line).c_str()); };
  const std::vector<std::string> paths = s.vectors ? std::vector<std::string>() : files_asked(wanted, results, ranks);
  const auto rows = s.vectors ? s.vectors->size() : static_cast<int64_t>(paths.size());
  Exports exports{predictions_for(wanted.predictions, s.contrastive() ? HeadConfig() : s.config().head, s.names, rows),
                  {}};
  if (!wanted.covariance.empty()) exports.covariance.emplace();
  if (rows > 0) {
    const auto predictor = make_predictor(s, wanted, exports, say);
    if (s.vectors)
      predictor->answer(
          rows_of(*s.vectors), [&](const std::string& why) { results.refuse(why); },
          [&](const std::vector<Answer>& answers) { results.add(answers); });
    else
      answer_files(paths, *predictor, results, ranks, wanted.only_results() || isatty(STDOUT_FILENO) == 0);
    if (exports.predictions) std::fputs(exports.predictions->write(predictor->about()).c_str(), messages);
    if (exports.covariance && results.answered() > 0) {
      const LogitCovariance covariance = exports.covariance->result(ranks);
      if (ranks.rank() == 0) std::fputs(write_covariance(wanted.covariance, covariance, s.names).c_str(), messages);
    }
  }
  results.finish();
  return results.refused() == 0;
}

}  // namespace
}  // namespace sked

int main(int argc, char** argv) {
  const sked::AppText text{"predict",
                           "Says of image files which classes they are likely of, how noisy a label would be, and "
                           "which classes' logits move "
                           "together with them (correlations of the sampled logits, common shifts left out).",
                           "build/predict runs/first photos/ cat.jpg --top 3 --csv answers.csv --html answers.html\n"
                           "  prints a table; ± is the deviation of a class's sampled logit",
                           {"--graph", "--out"},
                           true};
  sked::PredictArguments wanted;
  std::vector<sked::Option> own{
      {.name = "checkpoint",
       .target = &wanted.checkpoint,
       .help = "Run folder, or a safetensors or .npz file (one without a configuration inside needs --config)",
       .required = true,
       .exists = true},
      {.name = "images",
       .target = &wanted.images,
       .help = "Image files, and folders: all images below; of a model of vectors one file: .safetensors with features "
               "and perhaps ids, or .npy",
       .value = "FILE|DIR ..."},
      {"--list", &wanted.list, "More of them from a file, a line each; - is stdin", "FILE"},
      {.name = "--rows",
       .target = &wanted.rows,
       .help = "Vectors shown in the table",
       .in = {{0, 1000000000}},
       .shows_default = true},
      {.name = "--top",
       .target = &wanted.top,
       .help = "Classes listed for each image",
       .in = {{1, 1000}},
       .shows_default = true},
      {.name = "--samples",
       .target = &wanted.samples,
       .help = "Monte Carlo samples of the probabilities; default: as trained",
       .value = "N",
       .in = {{0, 1000000}}},
      {"--zero-shot", &wanted.zero_shot, "Of a run of build/contrast: what the images may show", "\"a cat,a dog,...\""},
      {.name = "--calibrated",
       .target = &wanted.calibrated,
       .help = "Probabilities as calibration.json calibrates them (build/evaluate --calibrate)",
       .value = "temperature|shift",
       .one_of = {"temperature", "shift"}},
      {"--json", &wanted.json, "Also as JSON; - is stdout, with nothing else there", "FILE"},
      {"--csv", &wanted.csv, "Also as CSV, a row for each image; - as for --json", "FILE"},
      {"--covariance", &wanted.covariance,
       "Also how the classes' sampled logits move together, mean and each image's, as PREFIX.safetensors, and the "
       "mean's correlation as a heat map, PREFIX.svg",
       "PREFIX"},
      {.name = "--html",
       .target = &wanted.html,
       .help = "Also as a page with the images, which is one file",
       .value = "FILE",
       .mistaken = {"--png", "--svg", "--jpg", "--pdf", "--page", "--picture", "--pictures"}}};
  std::ranges::move(sked::predictions_options(wanted.predictions), std::back_inserter(own));
  bool complete = true;
  const int code = sked::run_app(argc, argv, text, own,
                                 [&](const sked::CommonOptions& common) { complete = sked::predict(wanted, common); });
  return code == 0 && !complete ? 1 : code;
}
