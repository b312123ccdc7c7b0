#include "apps/common/run/opening.h"

#include <omp.h>

#include <sstream>

#include "apps/common/config/progress.h"
#include "core/precision.h"
#include "core/text.h"
#include "data/transforms.h"

namespace sked {
namespace {

constexpr int64_t kColumns = 80;

/// `12,345`.
std::string grouped(int64_t n) {
  std::string text = std::to_string(n);
  for (int64_t at = std::ssize(text) - 3; at > 0; at -= 3) text.insert(static_cast<size_t>(at), ",");
  return text;
}

std::string line(const std::string& what, const std::string& text) {
  std::string whole = what;
  whole.resize(10, ' ');
  whole += text;
  std::string cut = cut_to_columns(whole, kColumns);
  if (cut != whole) cut = cut_to_columns(whole, kColumns - 3) + "...";
  return cut;
}

std::string data_of(const DataConfig& data) {
  std::string text = data.name + (data.path.empty() ? "" : ": " + printable(data.path));
  if (data.labels != "clean") text += ", labels " + printable(data.labels);
  if (data.noise != LabelNoise::none) {
    std::ostringstream noise;
    noise << ", " << data.noise << " noise on " << 100 * data.noise_rate << " % of the labels";
    text += noise.str();
  }
  return text;
}

/// The number of classes, and the first names.
std::string classes_of(const Dataset& data) {
  constexpr size_t kFirst = 12;
  std::string text = grouped(data.classes());
  for (size_t k = 0; k < std::min(kFirst, data.class_names().size()); ++k)
    text += (k == 0 ? ": " : ", ") + printable(data.class_names()[k]);
  return text + (data.class_names().size() > kFirst ? " ..." : "");
}

std::string images_of(const Splits& splits) {
  std::string text = grouped(splits.train->size()) + " to train on";
  if (splits.validation) text += ", " + grouped(splits.validation->size()) + " held out";
  return text +
         (splits.without_test ? " (there are no test images)" : ", " + grouped(splits.test->size()) + " to test");
}

std::string head_of(const HeadConfig& head, int64_t parameters) {
  std::ostringstream text;
  text << head.kind;
  if (head.kind != HeadKind::det) {
    if (head.noise.factors != Factors::diagonal) text << " of rank " << head.noise.rank;
    text << ", " << grouped(parameters) << " parameters more, " << head.train_samples << " samples a step";
  }
  if (head.link == Link::sigmoid) text << ", sigmoid link";
  return text.str();
}

/// The size, and the stages behind decode.
std::string pixels_of(const DataConfig& data, const Dataset& images) {
  const Shape shape = Pipeline::parse(data.train_pipeline).output_shape(images.image_shape());
  const std::string decode = "decode|";
  return std::to_string(shape[0]) + " x " + std::to_string(shape[1]) +
         " pixels: " + data.train_pipeline.substr(data.train_pipeline.starts_with(decode) ? decode.size() : 0);
}

std::string training_of(const RunConfig& config, const Timetable& timetable) {
  std::ostringstream text;
  text << grouped(timetable.total) << " steps of " << config.train.batch_size << " images";
  const double epochs = timetable.epoch(timetable.total);
  if (timetable.total > 0) text << " (" << epochs << (epochs == 1 ? " epoch)" : " epochs)");
  text << ", " << config.optimizer.kind << ", learning rate " << config.schedule.peak;
  return text.str();
}

}  // namespace

std::vector<std::string> opening(const RunConfig& config, Task& task, const Timetable& timetable, Device device,
                                 const RunFolder& folder) {
  const Splits& splits = task.splits();
  Summary summary;
  task.describe(summary);
  std::string model = config.model.name + ", " + grouped(task.model().parameter_count()) + " parameters";
  if (!config.train.init.empty()) model += ", begins with " + printable(config.train.init);
  const int threads = omp_get_max_threads();
  std::vector<std::string> lines{line("data", data_of(config.data)), line("classes", classes_of(*splits.train)),
                                 line("images", images_of(splits)), line("model", model),
                                 line("head", head_of(config.head, summary.params_head_extra))};
  if (!holds_features(*splits.train)) lines.push_back(line("seen as", pixels_of(config.data, *splits.train)));
  lines.push_back(line("training", training_of(config, timetable)));
  lines.push_back(line("device", std::string(name(device)) + ", " + std::to_string(threads) +
                                     (threads == 1 ? " thread, " : " threads, ") + name(product_precision())));
  lines.push_back("folder    " + folder.path.string());
  return lines;
}

}  // namespace sked
