#pragma once
// A file of features that grows row by row, and that a program which was stopped goes on with.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "apps/common/config/progress.h"
#include "core/communicator.h"
#include "core/stopwatch.h"
#include "core/tensor.h"
#include "core/xxh64.h"

namespace sked {

/// A tensor of the file beside the features: of each image a row.
struct FeatureColumn {
  std::string name, dtype;                       // as safetensors spells it: I64, F32, U8
  std::vector<int64_t> shape;                    // of a row: () or (K)
  std::function<void(int64_t i, void* row)> at;  // writes the row of image i
};

/// Bytes of a row.
size_t row_bytes(const FeatureColumn& column);

/// What a file of features is to hold.
struct FeaturePlan {
  std::string path;
  std::string name = "features", dtype = "F32";  // of the features: F32, F16 or BF16
  int64_t images = 0, width = 0;                 // N, D
  int64_t most_left_out = 0;                     // of the N
  std::vector<FeatureColumn> columns = {};
  std::string about, fingerprint;  // all that decides the numbers, for people and as a short name: metadata of the file
};

/// What becomes of what an earlier start left: it is gone on with, and other features (of another fingerprint) are an
/// Error · other ones give way where they are not finished · all give way.
enum class Earlier { kept, unfinished_replaced, replaced };

/// A safetensors file: features (N,D) and its columns, without rows of images that were left out; checksums as
/// save_safetensors() has them. Until finish() gives it its name the rows lie in `<path>.partial`, beside
/// `<path>.partial.json`, which says how far it is: what a killed program left, the next one with the same fingerprint
/// goes on with. Rows are never all in memory. Of several ranks the first alone touches the file; all of them call what
/// follows, with the same arguments, and know how far it is.
class FeatureFile {
 public:
  /// `say`, else stderr, is told where what is left of an earlier start cannot be used, and that it is begun anew.
  /// Throws BusyError where another process writes it, Error where it cannot be written, and as `earlier` says; what no
  /// FeatureFile wrote is never replaced.
  FeatureFile(FeaturePlan plan, Earlier earlier, const Say& say = {}, Communicator& ranks = alone());
  FeatureFile(const FeatureFile&) = delete;
  FeatureFile& operator=(const FeatureFile&) = delete;

  /// Is the whole file there? Then there is nothing to do.
  bool complete() const { return complete_; }
  /// Images behind us, left out ones among them.
  int64_t done() const { return done_; }
  int64_t rows() const { return done_ - static_cast<int64_t>(left_out_.size()); }
  int64_t width() const { return plan_.width; }
  Communicator& ranks() const { return ranks_; }
  const std::vector<int64_t>& left_out() const { return left_out_; }

  /// φ f32 (B,D) on the CPU, of the images from done() to `done` but for `left_out`. Saves from time to time. Throws
  /// Error for a number beyond the file's dtype.
  void add(const Tensor& phi, const std::vector<int64_t>& left_out, int64_t done);
  /// Makes durable what was added.
  void save();
  /// Writes the columns and gives the file its name. Expects done() = N.
  void finish();

 private:
  bool begin(const Say& say);
  bool writes() const { return ranks_.rank() == 0; }
  bool is_complete() const;
  bool open();
  bool resume();
  bool holds_rows(const std::string& checksum);
  void lay_out();
  void write(uint64_t offset, const void* bytes, size_t count);
  std::string write_column(const FeatureColumn& column, uint64_t offset);
  [[noreturn]] void fail_with(int error) const;
  /// Of so many rows of features.
  uint64_t bytes_of(int64_t rows) const { return static_cast<uint64_t>(rows * plan_.width) * element_; }
  std::string partial() const { return plan_.path + ".partial"; }
  std::string state() const { return partial() + ".json"; }

  FeaturePlan plan_;
  const Earlier earlier_;
  Communicator& ranks_;
  size_t element_ = 0;           // bytes of a feature
  size_t before_ = 0;            // columns of wider elements, which come before the features
  uint64_t bytes_before_ = 0;    // of them, for an image
  uint64_t features_begin_ = 0;  // in the file
  struct Descriptor {            // a lock as well, also where the constructor throws
    ~Descriptor();
    int is = -1;
  } file_;
  bool complete_ = false;
  int64_t done_ = 0;
  std::vector<int64_t> left_out_;
  Xxh64 sum_;  // of the rows so far
  Stopwatch since_save_;
};

}  // namespace sked
