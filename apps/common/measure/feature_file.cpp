#include "apps/common/measure/feature_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <optional>
#include <sstream>

#include "core/error.h"
#include "core/file.h"
#include "core/half.h"
#include "core/json.h"
#include "core/safetensors.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr size_t kPiece = size_t{1} << 20;  // bytes read or written at once
constexpr uint64_t kLargestHeader = 100'000'000;
constexpr const char* kFingerprint = "fingerprint";

size_t element_bytes(const std::string& dtype) {
  return dtype == "I64" ? 8 : dtype == "F32" ? 4 : dtype == "U8" ? 1 : 2;
}

/// The tensors in their order in the file, of so many rows.
std::vector<PlannedTensor> planned(const FeaturePlan& plan, size_t before, int64_t rows) {
  std::vector<PlannedTensor> tensors;
  for (const FeatureColumn& column : plan.columns) {
    tensors.push_back({column.name, column.dtype, {rows}, std::string(16, '0')});
    tensors.back().shape.insert(tensors.back().shape.end(), column.shape.begin(), column.shape.end());
  }
  tensors.insert(tensors.begin() + static_cast<std::ptrdiff_t>(before),
                 {plan.name, plan.dtype, {rows, plan.width}, std::string(16, '0')});
  return tensors;
}

std::map<std::string, std::string> metadata_of(const FeaturePlan& plan) {
  return {{"about", plan.about}, {kFingerprint, plan.fingerprint}};
}

/// How two descriptions differ: the first line of each that does.
std::string difference(const std::string& theirs, const std::string& ours) {
  std::istringstream a(theirs), b(ours);
  for (std::string there, here;;) {
    const bool more = static_cast<bool>(std::getline(a, there)), wanted = static_cast<bool>(std::getline(b, here));
    if (!more && !wanted) return "other weights";
    if (!more || !wanted || there != here)
      return excerpt(more ? there : "nothing") + " there, " + excerpt(wanted ? here : "nothing") + " here";
  }
}

/// Element `from` as the file has it, at `to`; false where it is beyond its dtype.
bool convert(float from, const std::string& dtype, char* to) {
  const uint16_t bits = dtype == "F16" ? to_half(from) : bf16(from).bits;
  std::memcpy(to, &bits, sizeof bits);
  return (bits & 0x7fff) < (dtype == "F16" ? 0x7c00 : 0x7f80);
}

std::optional<Json> read_state(const std::string& path) {
  JsonRead read = read_json(read_file(path, uint64_t{1} << 28), 2);
  if (read.problem || !read.value.is_object()) return std::nullopt;
  return std::move(read.value);
}

}  // namespace

size_t row_bytes(const FeatureColumn& column) {
  size_t bytes = element_bytes(column.dtype);
  for (const int64_t extent : column.shape) bytes *= static_cast<size_t>(extent);
  return bytes;
}

FeatureFile::FeatureFile(FeaturePlan plan, Earlier earlier, const Say& say, Communicator& ranks)
    : plan_(std::move(plan)), earlier_(earlier), ranks_(ranks) {
  lay_out();
  const bool ours = !writes() || begin(say);
  Tensor state = Tensor::from(std::vector<int64_t>{ours, complete_, done_, std::ssize(left_out_)}, {4});
  ranks_.broadcast(state);
  if (state.data<int64_t>()[0] == 0)
    detail::throw_error<BusyError>("features", plan_.path, ": another process is writing it");
  complete_ = state.data<int64_t>()[1] != 0;
  done_ = state.data<int64_t>()[2];
  left_out_.resize(static_cast<size_t>(state.data<int64_t>()[3]));
  Tensor left_out = Tensor::from(left_out_, {std::ssize(left_out_)});
  ranks_.broadcast(left_out);
  left_out_ = left_out.to_vector<int64_t>();
}

/// Opens it, with what an earlier start left; false where another process writes it.
bool FeatureFile::begin(const Say& say) {
  complete_ = is_complete();
  if (complete_) {
    done_ = plan_.images;
    std::error_code none;  // a process that was killed in between leaves what it does not need any more
    if (!std::filesystem::exists(partial(), none)) std::filesystem::remove(state(), none);
    return true;
  }
  if (!open()) return false;
  if (resume()) return true;
  if (std::filesystem::exists(state()))
    tell(say, plan_.path + ": what is unfinished there is of no use, and is begun anew");
  std::filesystem::remove(state());
  done_ = 0, left_out_.clear(), sum_ = {};
  if (::ftruncate(file_.is, 0) != 0) fail_with(errno);
  return true;
}

FeatureFile::Descriptor::~Descriptor() {
  if (is >= 0) ::close(is);
}

/// Wider elements come first, as readers that map the file want it. The header has room for all rows; of fewer, it is
/// longer by what the columns before the features are shorter.
void FeatureFile::lay_out() {
  element_ = element_bytes(plan_.dtype);
  std::ranges::stable_sort(plan_.columns, std::greater{},
                           [](const FeatureColumn& c) { return element_bytes(c.dtype); });
  for (const FeatureColumn& column : plan_.columns) {
    if (element_bytes(column.dtype) <= element_) break;
    bytes_before_ += row_bytes(column);
    ++before_;
  }
  const uint64_t header =
      safetensors_beginning(plan_.path, planned(plan_, before_, plan_.images), metadata_of(plan_)).size();
  const uint64_t lost = static_cast<uint64_t>(std::min(plan_.most_left_out, plan_.images));
  require(header + lost * bytes_before_ <= kLargestHeader, "features", plan_.path,
          ": data.skip_limit: expected at most ",
          (kLargestHeader - std::min(header, kLargestHeader)) / std::max<uint64_t>(bytes_before_, 1), ", got ", lost);
  features_begin_ = header + static_cast<uint64_t>(plan_.images) * bytes_before_;
}

bool FeatureFile::is_complete() const {
  std::error_code none;
  if (!std::filesystem::exists(plan_.path, none)) return false;
  TensorFile file;
  try {
    file = load_safetensors_header(plan_.path);
  } catch (const Error&) {  // it is something else
  }
  const auto found = file.metadata.find(kFingerprint);
  require(found != file.metadata.end(), "features", plan_.path,
          " is there, and no file of features: it is not touched (move it away, or choose another name)");
  const bool replaced = earlier_ == Earlier::replaced;
  require(replaced || found->second == plan_.fingerprint, "features", plan_.path,
          " is there, of other features: ", difference(file.metadata["about"], plan_.about),
          " (another name, or --fresh, which begins anew)");
  return !replaced;
}

/// And takes its lock; false where another process has it.
bool FeatureFile::open() {
  file_.is = ::open(partial().c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (file_.is < 0) fail_with(errno);
  struct stat held {
  }, named{};
  const bool taken = ::flock(file_.is, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  const bool same = ::fstat(file_.is, &held) == 0 && ::stat(partial().c_str(), &named) == 0 &&
                    held.st_ino == named.st_ino && held.st_dev == named.st_dev;
  return !taken && same;
}

/// Takes what is there of an earlier start; false where there is nothing that can be used.
bool FeatureFile::resume() {
  if (earlier_ == Earlier::replaced || !std::filesystem::exists(state())) return false;
  const std::optional<Json> read = read_state(state());
  const auto text = [&](const char* key) {
    const Json* value = read ? read->find(key) : nullptr;
    return value != nullptr && value->is_string() ? value->string() : std::string();
  };
  if (text(kFingerprint).empty()) return false;
  const bool same = text(kFingerprint) == plan_.fingerprint;
  if (!same && earlier_ == Earlier::unfinished_replaced) return false;
  require(same, "features", partial(), " is there, of other features: ", difference(text("about"), plan_.about),
          " (another name, or --fresh, which begins anew)");
  const Json *images = read->find("images"), *left_out = read->find("left_out");
  if (images == nullptr || left_out == nullptr || !left_out->is_array()) return false;
  done_ = images->as_int64().value_or(-1);
  int64_t before = -1;
  for (const Json& i : left_out->elements()) {
    if (i.as_int64().value_or(-1) <= before) return false;
    left_out_.push_back(before = *i.as_int64());
  }
  if (done_ < 0 || done_ > plan_.images || before >= done_) return false;
  return holds_rows(text("checksum"));
}

/// Is what the file holds of the rows so far what was written?
bool FeatureFile::holds_rows(const std::string& checksum) {
  std::vector<char> piece(kPiece);
  uint64_t offset = features_begin_;
  for (uint64_t left = bytes_of(rows()); left > 0;) {
    const auto count = static_cast<size_t>(std::min<uint64_t>(left, piece.size()));
    if (read_all_at(file_.is, offset, piece.data(), count) != static_cast<ssize_t>(count)) return false;
    sum_.add(piece.data(), count);
    offset += count;
    left -= count;
  }
  return sum_.hex() == checksum;
}

void FeatureFile::add(const Tensor& phi, const std::vector<int64_t>& left_out, int64_t done) {
  constexpr double kSecondsBetweenSaves = 5;
  require_shape(phi, {done - done_ - static_cast<int64_t>(left_out.size()), plan_.width}, "features", "phi");
  const auto* bytes = static_cast<const char*>(phi.raw());
  std::vector<char> narrow;
  if (element_ < sizeof(float)) {
    narrow.resize(static_cast<size_t>(phi.numel()) * element_);
    for (int64_t i = 0; i < phi.numel(); ++i) {
      const float value = phi.data<float>()[i];
      require(convert(value, plan_.dtype, narrow.data() + static_cast<size_t>(i) * element_), "features", plan_.path,
              ": among images ", done_, " to ", done - 1, " a feature is ", value, ", beyond what ", plan_.dtype,
              " holds (--dtype f32 holds it)");
    }
    bytes = narrow.data();
  }
  const size_t count = static_cast<size_t>(phi.numel()) * element_;
  if (writes()) {
    write(features_begin_ + bytes_of(rows()), bytes, count);
    sum_.add(bytes, count);
  }
  left_out_.insert(left_out_.end(), left_out.begin(), left_out.end());
  done_ = done;
  if (since_save_.seconds() > kSecondsBetweenSaves) save();
}

void FeatureFile::save() {
  since_save_ = {};
  if (!writes()) return;
  if (::fdatasync(file_.is) != 0) fail_with(errno);
  write_file(state(), Json{{kFingerprint, plan_.fingerprint},
                           {"images", done_},
                           {"left_out", left_out_},
                           {"checksum", sum_.hex()},
                           {"about", plan_.about}}
                          .dump());
}

/// The rows of the images that are not left out; returns their checksum.
std::string FeatureFile::write_column(const FeatureColumn& column, uint64_t offset) {
  const size_t bytes = row_bytes(column);
  Xxh64 sum;
  std::vector<char> piece;
  const auto flush = [&] {
    write(offset, piece.data(), piece.size());
    sum.add(piece.data(), piece.size());
    offset += piece.size();
    piece.clear();
  };
  auto lost = left_out_.begin();
  for (int64_t i = 0; i < plan_.images; ++i) {
    if (lost != left_out_.end() && *lost == i) {
      ++lost;
      continue;
    }
    piece.resize(piece.size() + bytes);
    column.at(i, piece.data() + piece.size() - bytes);
    if (piece.size() >= kPiece) flush();
  }
  flush();
  return sum.hex();
}

void FeatureFile::finish() {
  complete_ = true;
  if (!writes()) return;
  std::vector<PlannedTensor> tensors = planned(plan_, before_, rows());
  const uint64_t begin = features_begin_ - static_cast<uint64_t>(rows()) * bytes_before_;
  uint64_t offset = begin;
  auto column = plan_.columns.begin();
  for (PlannedTensor& tensor : tensors) {
    if (tensor.name == plan_.name) {
      tensor.checksum = sum_.hex();
      offset += bytes_of(rows());
    } else {
      tensor.checksum = write_column(*column, offset);
      offset += static_cast<uint64_t>(rows()) * row_bytes(*column++);
    }
  }
  const std::string beginning = safetensors_beginning(plan_.path, tensors, metadata_of(plan_), begin);
  write(0, beginning.data(), beginning.size());
  if (::ftruncate(file_.is, static_cast<off_t>(offset)) != 0 || ::fsync(file_.is) != 0) fail_with(errno);
  int error = ::close(std::exchange(file_.is, -1)) == 0 ? 0 : errno;
  if (error == 0 && ::rename(partial().c_str(), plan_.path.c_str()) != 0) error = errno;
  if (error == 0) error = flush_folder_of(plan_.path);
  if (error != 0) fail_with(error);
  std::filesystem::remove(state());
}

void FeatureFile::write(uint64_t offset, const void* bytes, size_t count) {
  const int error = write_all_at(file_.is, offset, bytes, count);
  if (error != 0) fail_with(error);
}

void FeatureFile::fail_with(int error) const {
  fail("features", "cannot write ", partial(), ": ", std::strerror(error));
}

}  // namespace sked
