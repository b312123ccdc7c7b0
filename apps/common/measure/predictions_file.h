#pragma once
// Files of predictions that other programs read, by their ending: safetensors, NumPy's .npz, or a table in CSV.

#include <string>
#include <vector>

#include "core/json.h"
#include "core/tensor.h"

namespace sked {

/// What the elements of a column are.
enum class Cells {
  numbers,    // f32 or i64 (N, …)
  by_class,   // f32 (N,K): one number for every class
  class_ids,  // i64 (N) or (N,k): numbers of classes
  text        // u8 (N,L): UTF-8, zeros behind it
};

struct PredictionColumn {
  std::string name;
  Tensor rows;
  Cells cells = Cells::numbers;
};

/// Columns of N rows each, in order, with what they are about.
struct PredictionTable {
  std::vector<PredictionColumn> columns;
  std::vector<std::string> class_names;  // K
  Json about;                            // begins as begin_about() does
};

/// {about: "skedastic predictions"}: by this a file is known as one of ours.
Json begin_about();

/// u8 (N,L): rows of UTF-8 with zeros behind them, L ≥ 1 as the longest needs.
Tensor text_rows(const std::vector<std::string>& texts);

/// Could write_predictions() write `path`? Throws UsageError for an ending that is none of .safetensors, .npz and .csv;
/// Error where the file could not be written now, where something else than predictions is there, and for .npz in a
/// build without libzip. Leaves nothing behind.
void check_predictions_file(const std::string& path);

/// Writes through an AtomicFile what check_predictions_file() takes.
///   .safetensors  the columns by their names; class_names u8 (K,L); metadata: about, a JSON text
///   .npz          the same, with about u8 (the text) as its first array
///   .csv          RFC 4180 in UTF-8, with a header: a column (N) by its name, a (N,K) by class as NAME/CLASS, others
///                 as NAME/0, NAME/1 … or NAME/0/0 …; behind each column of class numbers NAME/name has their names.
///                 Numbers in as few digits as give the same f32 again. It has no place for about.
void write_predictions(const std::string& path, const PredictionTable& table);

}  // namespace sked
