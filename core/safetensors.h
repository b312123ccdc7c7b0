#pragma once
// Safetensors files: a JSON header with names, dtypes, shapes and byte ranges, then the bytes of all tensors.
// Format: https://huggingface.co/docs/safetensors (8 bytes little-endian length of the header, header, data).

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/communicator.h"
#include "core/stored_array.h"
#include "core/tensor.h"

namespace sked {

/// A tensor whose elements no tensor of this program has: its bytes are checked and left where they are.
struct SkippedTensor {
  std::string name, dtype;  // as the file spells them
  std::vector<int64_t> shape;
};

/// What a safetensors file holds: tensors in the order of their bytes, and free text by key.
struct TensorFile {
  std::vector<NamedTensor> tensors = {};
  std::map<std::string, std::string> metadata = {};  // without checksums
  std::vector<SkippedTensor> skipped = {};
  bool checked = false;  // against checksums: it had them

  /// Throws Error naming the nearest tensor when there is none of that name, or the dtype of one that was skipped.
  const Tensor& at(const std::string& name) const;
  bool contains(const std::string& name) const;
};

/// Reads F32, F64, F16, BF16, I64 and U8 tensors of up to six axes to the CPU, F16 as f32, which holds each of its
/// values exactly; those of the format's other dtypes are `skipped`. Strict: throws Error, naming the file and the
/// tensor, unless the header (at most 100 MB) is one JSON object without duplicate keys, every dtype is one of the
/// format, every byte length is shape × element size without overflow, the byte ranges follow each other from 0 without
/// gap or overlap, the file ends where the last one does, and what it has is what its checksums say. Nothing is
/// allocated for a tensor before its length has been checked against the file.
TensorFile load_safetensors(const std::string& path);
/// The same without the tensors, whose bytes are not looked at.
TensorFile load_safetensors_header(const std::string& path);

/// A tensor of a file that is written piece by piece: dtype as the format spells it, and the XXH64 of its bytes.
struct PlannedTensor {
  std::string name, dtype;
  std::vector<int64_t> shape;
  std::string checksum;
};

/// What such a file begins with: the header's length and the header, behind which the bytes of `tensors` follow in this
/// order, wider dtypes first. Checksums are those of save_safetensors(). `length` > 0: blanks fill it up to so many
/// bytes. Throws Error as save_safetensors() does, or where `length` is too small.
std::string safetensors_beginning(const std::string& path, const std::vector<PlannedTensor>& tensors,
                                  const std::map<std::string, std::string>& metadata, uint64_t length = 0);

/// The tensors of a safetensors file of any size by their names, to be read by rows: those of F32, F64, F16, BF16, BOOL
/// and whole numbers. The header is checked as load_safetensors() does it, the tensors are not held against checksums.
struct StoredTensors {
  std::map<std::string, StoredArray> tensors = {};
  std::map<std::string, std::string> metadata = {};  // without checksums
};
StoredTensors open_safetensors(const std::string& path);

/// Writes through an AtomicFile, with a checksum of every tensor and one of the metadata, which other readers of the
/// format take for metadata: `xxh64.<tensor>` (of its bytes) and `xxh64` (of all other entries, each as key, \n, value,
/// \n, in order of their keys). load_safetensors() holds a file that has them against them. Tensors may live on any
/// device; wider dtypes are written first (readers map the bytes and need them aligned), otherwise in the given order.
/// Throws Error for an undefined tensor, a name used twice, the name `__metadata__`, or text that is not UTF-8.
void save_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                      const std::map<std::string, std::string>& metadata = {});
/// The same file by several ranks, all of which call it: rank 0 writes, and what is divided comes to it a rank's share
/// after the other. The names, and which of them are divided, are the same on every rank.
void save_safetensors(const std::string& path, const std::vector<SharedTensor>& tensors,
                      const std::map<std::string, std::string>& metadata, Communicator& ranks);

}  // namespace sked
