#include "apps/predict/results.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "apps/common/config/fields.h"
#include "apps/common/config/outputs.h"
#include "apps/common/measure/covariance.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"

namespace sked {
namespace {

bool to_file(const std::string& path) { return !path.empty() && path != "-"; }

void put(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

/// Does the file begin as one of ours does?
bool is_csv(const std::string& path, const char* key) {
  const std::string header = csv_header(1, key);
  std::string begin(header.find("\r\n"), '\0');
  begin.resize(InputFile(path).read_some(begin.data(), begin.size()));
  return header.starts_with(begin);
}

}  // namespace

void check_outputs(const PredictArguments& wanted, const char* key) {
  check_predictions(wanted.predictions);
  for (const std::string& what : wanted.predictions.with)
    require_usage(wanted.zero_shot.empty() || what == "representation", "predict", "--with ", what,
                  ": expected representation beside --zero-shot, which compares with texts and has no noise");
  require_usage(wanted.json != "-" || wanted.csv != "-", "predict",
                "--json - and --csv -: expected one of them on stdout, the other in a file");
  for (const std::string& file : {wanted.html, wanted.covariance})
    require_usage(file != "-", "predict", "--html and --covariance: expected a file's name, got -");
  std::vector<std::string> files{wanted.json, wanted.csv, wanted.html, wanted.predictions.file};
  std::ranges::move(check_covariance_files(wanted.covariance), std::back_inserter(files));
  check_apart(files);
  if (to_file(wanted.json)) check_results({wanted.json}, "top");
  for (const auto& [file, ours] :
       {std::pair(wanted.csv,
                  std::function<bool(const std::string&)>([&](const std::string& path) { return is_csv(path, key); })),
        {wanted.html, is_page}}) {
    if (!to_file(file)) continue;
    check_writable(file);
    refuse_foreign(file, ours);
  }
}

Results::Results(const PredictArguments& wanted, PageAbout about, std::vector<std::string> names, const char* key,
                 size_t shown, bool says)
    : wanted_(wanted), names_(std::move(names)), key_(key), shown_(shown), says_(says) {
  if (!wanted.csv.empty()) csv_ = csv_header(std::min(wanted.top, static_cast<int64_t>(names_.size())), key);
  if (!wanted.html.empty()) page_ = std::make_unique<Page>(wanted.html, std::move(about), names_);
}

void Results::print(const Answer& answer) const {
  std::printf("%s", printable(answer.path).c_str());
  if (answer.noise) std::printf("  (predicted noise %.4f)", *answer.noise);
  std::printf("\n");
  for (const std::string& line : lines_of(answer, names_)) std::printf("  %s\n", line.c_str());
}

void Results::add(const std::vector<Answer>& answers) {
  for (const Answer& answer : answers) {
    if (count_++ < shown_ && !wanted_.only_results()) print(answer);
    if (!wanted_.json.empty()) json_.push_back(json_of(answer, names_, key_));
    if (!wanted_.csv.empty()) csv_ += csv_row(answer, names_, key_);
    if (page_ == nullptr) continue;
    try {
      page_->add(answer);
    } catch (const ImageError& error) {  // it changed since
      refuse(error.what());
    }
  }
  if (wanted_.csv == "-") put(std::exchange(csv_, ""));
  std::fflush(stdout);
}

void Results::refuse(const std::string& why) {
  if (says_) std::fprintf(stderr, "error: %s\n", printable(why).c_str());
  refused_.push_back(why);
}

void Results::finish() {
  if (shown_ < count_ && !wanted_.only_results())
    std::printf("the first %zu of %zu rows (--rows shows more, --json and --predictions have all)\n", shown_, count_);
  if (to_file(wanted_.json)) write_file(wanted_.json, json_text(json_));
  if (to_file(wanted_.csv)) write_file(wanted_.csv, csv_);
  if (page_) page_->finish(refused_);
  if (wanted_.json == "-") put(json_text(json_));
  if (wanted_.csv == "-") put(csv_);  // the header, where nothing has an answer
  std::fflush(stdout);
}

}  // namespace sked
