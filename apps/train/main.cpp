// train: one classifier from one configuration.

#include <cstdio>
#include <filesystem>

#include "apps/common/config/cli.h"
#include "apps/common/config/progress.h"
#include "apps/common/run/own_images.h"
#include "apps/common/run/trace.h"
#include "apps/common/run/trainer.h"
#include "core/error.h"
#include "core/mpi.h"

namespace {

void print(const sked::Summary& s, const std::filesystem::path& out) {
  const sked::Measures& m = s.test.measures;
  std::printf("%s: nll %.4f  accuracy %.2f %%  top-5 %.2f %%  ece %.4f  brier %.4f  (%lld images, %s weights)\n",
              s.measured == "test" ? "test" : "held out (no test images)", m.nll, 100 * m.accuracy, 100 * m.top5, m.ece,
              m.brier, static_cast<long long>(m.count), s.weights.c_str());
  if (!s.test.distribution.empty()) {
    std::printf("test against %s labels: cross-entropy %.4f (their entropy: %.4f)\n",
                s.test.distribution == "human" ? "all human" : "the known distribution of the noisy",
                s.test.against.cross_entropy, s.test.against.entropy);
  }
  for (const sked::FewShotMeasures& few_shot : s.few_shot) std::printf("%s\n", few_shot_line(few_shot).c_str());
  std::printf(
      "%lld steps in %s (%.0f images/s), peak memory %.0f MB, head %s: %lld extra parameters, temperature %.3f\n",
      static_cast<long long>(s.steps), sked::duration(s.train_seconds).c_str(), s.images_per_second,
      static_cast<double>(s.peak_memory_bytes) / 1e6, s.head.c_str(), static_cast<long long>(s.params_head_extra),
      s.temperature);
  std::printf("results in %s\n", out.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  const sked::AppText text{
      "train",
      "Trains one classifier: backbone, head and data as a configuration says, or on your own images. Run again, it "
      "goes on where it stopped.",
      "build/train --config apps/configs/fashion-mnist-resnet-het-xl.json --set train.epochs=2 --out runs/first\n"
      "  leaves config.json, metrics.jsonl, summary.json, last.safetensors and best.safetensors in runs/first\n"
      "  build/train --images photos --model resnet18 --head het-xl\n"
      "  trains on the folders of photos, a class each",
      {},
      true};
  bool fresh = false;
  sked::OwnImages own;
  std::vector<sked::Option> options = sked::own_images_options(own);
  std::string profile;
  options.insert(options.begin(), sked::profile_option(profile));
  options.insert(options.begin(), {"--fresh", &fresh, "Start over instead of going on from the folder's checkpoint"});
  return sked::run_app(argc, argv, text, options, [&](const sked::CommonOptions& common) {
    const sked::RunConfig config = sked::configured(common, own);
    sked::require_usage(config.task == sked::TaskKind::classification, "train", common.config,
                        ": task: ", sked::name_of(config.task), " is trained by build/contrast");
    print_if_asked(common, sked::config_text(config));
    const std::filesystem::path out = common.out.empty() ? sked::default_folder(common, own, config) : common.out;
    check_outside_images(out, own);
    const std::unique_ptr<sked::Trace> trace = sked::trace_of(profile, common.device, sked::world());
    print(train(config, out,
                {.device = common.device,
                 .graph = common.graph,
                 .fresh = fresh,
                 .opening = true,
                 .command = common.command,
                 .ranks = &sked::world(),
                 .trace = trace.get()}),
          out);
    sked::finish(trace.get());
  });
}
