#pragma once
// Fine-tuning: a model that begins with the weights of a checkpoint by timm, torchvision, transformers or this program
// (foreign_names.h). It computes the same function as the network they come from, or it is refused; what of its head is
// another is said.

#include <cstdint>
#include <string>
#include <vector>

#include "apps/common/config/config.h"
#include "apps/common/run/initial_options.h"
#include "core/safetensors.h"
#include "layers/classifier.h"
#include "layers/module.h"
#include "layers/two_towers.h"

namespace sked {

/// What became of a checkpoint's tensors and of the model's.
struct InitialReport {
  int64_t loaded = 0;                     // tensors of the model that came from the file
  std::vector<std::string> unused;        // of the file, as it names them, left alone
  std::vector<std::string> not_found;     // of the model, as initialized
  std::vector<std::string> interpolated;  // of the model, resampled to another grid
  bool head_replaced = false;             // the classifier stays as initialized
  bool head_mapped = false;               // its rows are the file's in the order of the model's classes
  std::string classifier;                 // what there is to say about it, `the classifier is new: …`; empty: nothing
  std::vector<std::string> notes;         // and about the rest: `the noise is new: head.rank is 8 in the file, 4 here`
};

/// Copies tensors into `model` by name. It is to be the file's network: every tensor of the file is used and every one
/// of the model is found, but for
///
///   head         what of it the model can take, of other classes, another kind, rank, factors, link or temperature
///                (head_rows.h); the rest of the file's is left out, and that of the model stays as initialized. A file
///                may have none. The report says each.
///   positions    embeddings of another (square) grid are resampled as timm does: bicubic with antialiasing; those of
///                the class token and the registers are kept.
///   no weights   num_batches_tracked, mask_token, integers and booleans; optimizer.* and raw.* of this program.
///
/// Of a run of two towers the image tower is the file; the rest is left out.
///
/// Throws Error, one line naming `path` and what keeps the networks apart (difference.h), for anything else; with
/// `partial` only when nothing fits. The model is then unchanged.
InitialReport load_initial(const TensorFile& file, const std::string& path, const Module& model,
                           const InitialOptions& options = {});

/// The same for a model that is to be evaluated as it is: the classifier has to be there too, of as many classes, and
/// everything of the head. Returns lines for the log.
std::vector<std::string> load_foreign(const TensorFile& file, const std::string& path, const Classifier& model);

/// Is it a run of contrastive training?
bool is_two_towers(const TensorFile& file, const std::string& path);

/// Its image tower alone, under the names of a backbone; the metadata stay.
TensorFile image_tower(const TensorFile& file);

/// Begins `model`, two towers of `config`, with those of the run train.init:
///
///   image tower   as load_initial() of a backbone
///   text tower    has to be the file's: the same vocabulary, and the same text.context, width, depth, heads, mlp, pool
///   projections   new where contrast.width is another
///   noise         new where contrast.width, kind, factors, rank or noise (its place) is another
///   temperature   taken where both learn it within the same bounds
///
/// The report says what is new. Throws Error as load_initial(), UsageError naming the keys for another text tower; with
/// train.init_partial that is new, too, where its vocabulary or a key is another. The model is then unchanged.
InitialReport load_towers(const TensorFile& file, const RunConfig& config, TwoTowers& model);

}  // namespace sked
