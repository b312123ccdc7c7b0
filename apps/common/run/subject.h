#pragma once
// A checkpoint that is used and not trained: what evaluate, predict and contrast --evaluate begin with.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/common/config/cli.h"
#include "apps/common/run/checkpoint.h"
#include "layers/classifier.h"

namespace sked {

struct Subject {
  std::string path;
  TensorFile file;
  RunConfig config;                  // its own, or that of --config, with what else the command line says
  std::optional<DataIdentity> data;  // of its training; none in a file of an earlier version, and of somebody else
  bool foreign = false;              // weights of somebody else, who has no configuration of ours
};

/// Reads `given`, a run folder or a file, and says on stderr what cannot be known of it, and which weights of a run
/// that is not finished these are. A file of somebody else's needs --config; the network then is the file's
/// (follow_file.h). With one of this program --config may bring other data, but no other network: UsageError naming the
/// keys. Throws what checkpoint_path(), load_safetensors(), config_of(), apply_options() and follow_file() throw.
Subject load_subject(const std::string& given, const CommonOptions& common);

/// The data of its configuration, its classes in the order of the checkpoint's: by name, said on stderr where that is
/// another. Throws Error naming what differs for data with other classes.
Splits load_data(const Subject& subject);
Splits load_data(const RunConfig& config, const std::vector<std::string>& classes, const std::string& whose);

/// Says on stderr where `images`, the `split` (train, validation, test) of the data of the subject's training, are not
/// what they were then. Throws Error for other held-out images: it was trained on some of them.
void check_images(const Subject& subject, const Dataset& images, const std::string& split);

/// A classifier with its weights. Throws Error as restore_weights() or load_foreign().
std::unique_ptr<Classifier> classifier_of(const Subject& subject, const Shape& image_shape, int64_t classes,
                                          Device device);

}  // namespace sked
