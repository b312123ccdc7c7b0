// train: one classifier from one configuration.

#include <cstdio>
#include <filesystem>

#include "apps/common/config/cli.h"
#include "apps/common/config/progress.h"
#include "apps/common/run/trainer.h"
#include "core/error.h"

namespace {

void print(const sked::Summary& s, const std::filesystem::path& out) {
  const sked::Measures& m = s.test.measures;
  std::printf("test: nll %.4f  accuracy %.2f %%  top-5 %.2f %%  ece %.4f  brier %.4f  (%lld images, %s weights)\n",
              m.nll, 100 * m.accuracy, 100 * m.top5, m.ece, m.brier, static_cast<long long>(m.count),
              s.weights.c_str());
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
      "Trains one classifier: backbone, head and data as a configuration says. Run again, it goes on where it stopped.",
      "build/train --config apps/configs/fashion-mnist-resnet-het-xl.json --set train.epochs=2 --out runs/first\n"
      "  leaves config.json, metrics.jsonl, summary.json, last.safetensors and best.safetensors in runs/first"};
  bool fresh = false;
  std::string init;
  return sked::run_app(
      argc, argv, text,
      {{"--fresh", &fresh, "Start over instead of going on from the folder's checkpoint"},
       {"--init", &init,
        "Begin with the weights of a checkpoint by timm, torchvision, transformers or this program, or of a .npz by "
        "big_vision or uncertainty-baselines (train.init)",
        "FILE"}},
      [&](const sked::CommonOptions& options) {
        sked::RunConfig config = sked::load_config(options);
        sked::require_usage(config.task == sked::TaskKind::classification, "train", options.config,
                            ": task: ", sked::name_of(config.task), " is trained by build/contrast");
        if (!init.empty()) config.train.init = init;
        print_if_asked(options, sked::config_text(config));
        std::filesystem::path out = options.out;
        if (out.empty())
          out = "runs/" + std::filesystem::path(options.config).stem().string() + "-s" + std::to_string(config.seed);
        print(train(config, out,
                    {.device = options.device, .graph = options.graph, .fresh = fresh, .command = options.command}),
              out);
      });
}
