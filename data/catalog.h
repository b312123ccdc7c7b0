#pragma once
// The datasets known by name, with the label sets and label noise a configuration can ask for.

#include <string>
#include <vector>

#include "data/splits.h"

namespace sked {

/// Loads a dataset. Held out are `validation` training images, or below 1 that share of each class (held_out.h), parted
/// from the others by a permutation that depends on their number alone, not on a seed: fair samples even where the
/// files are sorted by class. Training is the others, or `train_size` of them (0: all) by the same permutation. Within
/// each, images keep the files' order; with nothing held out and no subset training is exactly that. The captions of
/// one image (examples of one source) are never on both sides: validation is then as many whole images as fit its size.
/// Validation images that the files have of their own are those where `validation` is 0; else a note says that they are
/// not used.
/// Throws UsageError for an unknown name, label set or noise (listing the known ones), noise on top of human labels or
/// of a collection, sizes that do not fit, or a validation size for embeddings that have a validation part; Error for a
/// missing file (naming the command that prepares it), a damaged one, a test set of no image, a training set of none
/// (but of embeddings without parts), or more halves of pairs than DataSpec::skip_limit allows.
Splits load_splits(const DataSpec& spec, double validation, int64_t train_size = 0);

/// All of a dataset in the parts that its files have: as load_splits() with nothing held out, but collections without
/// test images, which it refuses, have none (`test` is null).
Splits load_parts(const DataSpec& spec);

/// What is known of a dataset without its images; UsageError for an unknown name.
/// As Dataset::image_shape().
Shape image_shape_of(const DataSpec& spec);
/// As Dataset::class_names(); empty where only the files tell, and they are not there.
std::vector<std::string> class_names_of(const DataSpec& spec);
/// What files call these classes (WordNet's ids, say), in the same order; empty where they have no such list.
std::vector<std::string> class_ids_of(const DataSpec& spec);

std::vector<std::string> known_datasets();
/// Of all of them together.
std::vector<std::string> known_label_sets();

/// $SKEDASTIC_DATA where that is set, else ./datasets.
std::string default_data_root();

}  // namespace sked
