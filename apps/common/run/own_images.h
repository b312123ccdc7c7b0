#pragma once
// A configuration from somebody's own images and the name of a network: what `--images` asks for.

#include <filesystem>
#include <string>
#include <vector>

#include "apps/common/config/cli.h"
#include "apps/common/config/config.h"

namespace sked {

/// The options of --images; empty or 0: not given.
struct OwnImages {
  std::string images, model, head, init, statistics;
  std::string size;  // an edge in pixels
};

/// --images, --model, --head, --init, --size and --statistics, as they stand in `own`.
std::vector<Option> own_images_options(OwnImages& own);

/// Reads --config (where given), or else makes a configuration from --images, or both: then the file is the base, and
/// --images gives the data and, where the file's pipelines do not read files, the pipelines. Then --model, --head and
/// --init, and last what --set and --seed say.
///
///   data        a folder of class folders, or with train/ and test/ (val/ …) of these; shards; a table (DataSpec says
///               which forms). Validation images of its own are those held out; without test images a fifth of each
///               class is.
///   model       --model; of a run of this program that --init names its own
///   size        --size; or that of the checkpoint's position embeddings or pipeline; 224 for other published
///               weights; from scratch the largest of 32, 64 and 128 that most images have
///   statistics  mean and deviation: --statistics; or those of the run of --init; or of config.json or
///               preprocessor_config.json beside the checkpoint; or those usual for its kind of network
///   training    AdamW, cosine, so many epochs that a small data set sees some hundreds of steps
///
/// What had to be guessed is said in one line on stderr. Throws UsageError for options that do not go together, Error
/// for what cannot be read, and where there are fewer than two classes.
RunConfig configured(const CommonOptions& options, const OwnImages& own);

/// Where a run goes that no --out is given for: `runs/<configuration>-s<seed>`, of own images
/// `runs/<folder>-<model>-<head>-s<seed>`.
std::string default_folder(const CommonOptions& options, const OwnImages& own, const RunConfig& config);

/// Throws UsageError where results in `out` would lie among the images, as the folder of a class.
void check_outside_images(const std::filesystem::path& out, const OwnImages& own);

/// The name of the folder or table of --images, without its ending.
std::string name_of_images(const std::string& images);

/// Sets head.kind; of het and het-xl a learned temperature that starts at 1 as well. As a JSON text, {"key.path":
/// value}. Throws UsageError naming `option` for a name that is no head's.
std::string head_settings(const std::string& kind, const std::string& option);

}  // namespace sked
