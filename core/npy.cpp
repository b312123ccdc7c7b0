#include "core/npy.h"

#include <array>
#include <cctype>
#include <charconv>
#include <optional>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr uint32_t kMaxHeader = 64 * 1024;  // what NumPy writes for our dtypes is 118 bytes

struct NpyType {
  std::string_view descr;
  DType dtype;
};
constexpr std::array kTypes{NpyType{"<f4", DType::f32}, NpyType{"<f8", DType::f64}, NpyType{"<i8", DType::i64},
                            NpyType{"|u1", DType::u8}};

struct Header {
  DType dtype = DType::f32;
  std::vector<uint64_t> extents;
};

/// A reader of the header's dictionary, a Python literal: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& path) : text_(text), path_(path) {}

  Header parse();

 private:
  template <class... Parts>
  void check(bool ok, const Parts&... parts) const {
    require(ok, "load_npy", path_, ": ", parts...);
  }
  void skip_spaces() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
  }
  bool accept(std::string_view token) {
    skip_spaces();
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }
  void expect(std::string_view token) {
    check(accept(token), "expected `", token, "` in the header, got `", rest(), "`");
  }
  /// What is left to read, for messages.
  std::string rest() const { return excerpt(text_.substr(at_)); }
  std::string_view quoted();
  DType descr();
  std::vector<uint64_t> shape();

  std::string_view text_;
  const std::string& path_;
  size_t at_ = 0;
};

std::string_view HeaderParser::quoted() {
  skip_spaces();
  const char quote = at_ < text_.size() ? text_[at_] : '\0';
  check(quote == '\'' || quote == '"', "expected a quoted string in the header, got `", rest(), "`");
  const size_t end = text_.find(quote, at_ + 1);
  check(end != std::string_view::npos, "a string in the header has no end");
  const std::string_view value = text_.substr(at_ + 1, end - at_ - 1);
  at_ = end + 1;
  return value;
}

DType HeaderParser::descr() {
  const std::string_view value = quoted();
  for (const NpyType& type : kTypes) {
    if (type.descr == value) return type.dtype;
  }
  fail("load_npy", path_, ": expected dtype <f4, <f8, <i8 or |u1, got ", excerpt(value));
}

std::vector<uint64_t> HeaderParser::shape() {
  std::vector<uint64_t> extents;
  expect("(");
  while (!accept(")")) {
    skip_spaces();
    uint64_t extent = 0;
    const char* begin = text_.data() + at_;
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), extent);
    check(error == std::errc{}, "expected a number in the shape, got `", rest(), "`");
    check(extents.size() < Shape::kMaxDims, "expected at most ", Shape::kMaxDims, " axes, got more");
    extents.push_back(extent);
    at_ += static_cast<size_t>(end - begin);
    // (3) is a number in Python, (3,) a tuple
    if (!accept(",")) {
      check(extents.size() > 1, "expected a tuple as shape, got a number");
      expect(")");
      break;
    }
  }
  return extents;
}

Header HeaderParser::parse() {
  std::optional<DType> dtype;
  std::optional<std::vector<uint64_t>> extents;
  bool order_seen = false;
  expect("{");
  while (!accept("}")) {
    const std::string_view key = quoted();
    expect(":");
    if (key == "descr" && !dtype) {
      dtype = descr();
    } else if (key == "fortran_order" && !order_seen) {
      check(!accept("True"), "expected C order, got Fortran order");
      expect("False");
      order_seen = true;
    } else if (key == "shape" && !extents) {
      extents = shape();
    } else {
      check(false, "expected the keys descr, fortran_order and shape once each in the header, got ", excerpt(key));
    }
    if (!accept(",")) {
      expect("}");
      break;
    }
  }
  skip_spaces();
  check(at_ == text_.size(), "expected the header to end, got `", rest(), "`");
  check(dtype && extents && order_seen, "expected descr, fortran_order and shape in the header");
  return {*dtype, *extents};
}

/// Little-endian number of `count` bytes.
uint32_t read_length(InputFile& file, size_t count) {
  std::array<unsigned char, 4> bytes{};
  file.read(bytes.data(), count);
  return bytes[0] | bytes[1] << 8 | bytes[2] << 16 | static_cast<uint32_t>(bytes[3]) << 24;
}

/// Reads everything before the data; `data_begin` becomes the offset of the first element.
Header read_header(InputFile& file, uint64_t& data_begin) {
  std::array<char, 8> start{};
  const size_t got = file.read_some(start.data(), start.size());
  require(got == start.size() && std::string_view(start.data(), kMagic.size()) == kMagic, "load_npy", file.path(),
          ": not a .npy file");
  const int version = start[6];
  require(version >= 1 && version <= 3 && start[7] == 0, "load_npy", file.path(),
          ": expected format 1.0, 2.0 or 3.0, got ", version, ".", static_cast<int>(start[7]));
  const size_t length_bytes = version == 1 ? 2 : 4;
  const uint32_t length = read_length(file, length_bytes);
  require(length <= kMaxHeader, "load_npy", file.path(), ": header of ", length, " bytes, expected at most ",
          kMaxHeader);
  std::string text(length, '\0');
  file.read(text.data(), length);
  data_begin = start.size() + length_bytes + length;
  return HeaderParser(text, file.path()).parse();
}

}  // namespace

NpyFile::NpyFile(const std::string& path) : file_(path) {
  require(file_.size().has_value(), "load_npy", path, ": expected a regular file");
  const Header header = read_header(file_, data_begin_);
  std::vector<uint64_t> factors = header.extents;
  factors.push_back(size_of(header.dtype));
  const std::optional<uint64_t> bytes = checked_product(factors);
  require(bytes.has_value(), "load_npy", path, ": the shape's size overflows");
  require(*file_.size() - data_begin_ == *bytes, "load_npy", path, ": expected ", *bytes,
          " bytes of data for the shape, got ", *file_.size() - data_begin_);
  dtype_ = header.dtype;
  shape_ = Shape(std::vector<int64_t>(header.extents.begin(), header.extents.end()));
}

void NpyFile::read_at(uint64_t begin, Tensor& tensor) const {
  require(file_.read_at(data_begin_ + begin, tensor.raw(), tensor.bytes()) == tensor.bytes(), "load_npy", path(),
          ": the file got shorter while it was read");
}

Tensor NpyFile::rows(int64_t begin, int64_t end) const {
  require(shape_.ndim() > 0 && 0 <= begin && begin <= end && end <= shape_[0], "load_npy", path(),
          ": expected rows of ", shape_, ", got ", begin, " to ", end);
  Tensor tensor = Tensor::empty(shape_.with(0, end - begin), dtype_);
  read_at(begin == end ? 0 : static_cast<uint64_t>(begin) * (tensor.bytes() / static_cast<uint64_t>(end - begin)),
          tensor);
  return tensor;
}

Tensor NpyFile::read() const {
  Tensor tensor = Tensor::empty(shape_, dtype_);
  read_at(0, tensor);
  return tensor;
}

Tensor load_npy(const std::string& path) { return NpyFile(path).read(); }

void save_npy(const std::string& path, const Tensor& tensor) {
  require(tensor.defined(), "save_npy", path, ": expected a tensor, got none");
  std::string_view descr;
  for (const NpyType& type : kTypes) {
    if (type.dtype == tensor.dtype()) descr = type.descr;
  }
  require(!descr.empty(), "save_npy", path, ": expected f32, f64, i64 or u8, got ", tensor);

  std::string header = "{'descr': '" + std::string(descr) + "', 'fortran_order': False, 'shape': (";
  for (int axis = 0; axis < tensor.ndim(); ++axis) header += (axis > 0 ? ", " : "") + std::to_string(tensor.dim(axis));
  header += tensor.ndim() == 1 ? ",), }" : "), }";
  // The data starts at a multiple of 64 bytes, as the format asks; the header ends with a new line.
  const size_t prefix = kMagic.size() + 4;
  header.append(63 - (prefix + header.size()) % 64, ' ').push_back('\n');

  AtomicFile file(path);
  file.write(kMagic);
  const std::array<char, 4> version_and_length{1, 0, static_cast<char>(header.size() & 0xff),
                                               static_cast<char>(header.size() >> 8)};
  file.write(version_and_length.data(), version_and_length.size());
  file.write(header);
  const Tensor host = tensor.to(Device::cpu);
  file.write(host.raw(), host.bytes());
  file.commit();
}

}  // namespace sked
