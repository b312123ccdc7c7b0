#include "core/npy.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <memory>
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
constexpr std::array kTypes{NpyType{"<f4", DType::f32}, NpyType{"<f8", DType::f64},  NpyType{"<i8", DType::i64},
                            NpyType{"|u1", DType::u8},  NpyType{"<V2", DType::bf16}, NpyType{"|V2", DType::bf16}};

/// What is read by rows alone.
struct StoredType {
  std::string_view descr;
  Element element;
  uint64_t bytes;
};
constexpr std::array kStoredTypes{
    StoredType{"<f4", Element::f32, 4},  StoredType{"<f8", Element::f64, 8},    StoredType{"<f2", Element::f16, 2},
    StoredType{"<V2", Element::bf16, 2}, StoredType{"|V2", Element::bf16, 2},   StoredType{"|u1", Element::u8, 1},
    StoredType{"|i1", Element::i8, 1},   StoredType{"<u2", Element::u16, 2},    StoredType{"<i2", Element::i16, 2},
    StoredType{"<u4", Element::u32, 4},  StoredType{"<i4", Element::i32, 4},    StoredType{"<u8", Element::u64, 8},
    StoredType{"<i8", Element::i64, 8},  StoredType{"|b1", Element::boolean, 1}};

struct Header {
  std::string descr;
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
  std::optional<std::string_view> descr;
  std::optional<std::vector<uint64_t>> extents;
  bool order_seen = false;
  expect("{");
  while (!accept("}")) {
    const std::string_view key = quoted();
    expect(":");
    if (key == "descr" && !descr) {
      descr = quoted();
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
  check(descr && extents && order_seen, "expected descr, fortran_order and shape in the header");
  return {std::string(*descr), *extents};
}

/// Exactly `count` of the next bytes.
void read_all(const NpyBytes& bytes, void* to, size_t count) {
  const size_t got = bytes.read(to, count);
  require(got == count, "load_npy", bytes.path, " is cut short: expected ", count, " more bytes, got ", got);
}

/// Little-endian number of `count` bytes.
uint32_t read_length(const NpyBytes& file, size_t count) {
  std::array<unsigned char, 4> bytes{};
  read_all(file, bytes.data(), count);
  return bytes[0] | bytes[1] << 8 | bytes[2] << 16 | static_cast<uint32_t>(bytes[3]) << 24;
}

/// Reads everything before the data; `data_begin` becomes the offset of the first element.
Header read_header(const NpyBytes& file, uint64_t& data_begin) {
  std::array<char, 8> start{};
  const size_t got = file.read(start.data(), start.size());
  require(got == start.size() && std::string_view(start.data(), kMagic.size()) == kMagic, "load_npy", file.path,
          ": not a .npy file");
  const int version = start[6];
  require(version >= 1 && version <= 3 && start[7] == 0, "load_npy", file.path,
          ": expected format 1.0, 2.0 or 3.0, got ", version, ".", static_cast<int>(start[7]));
  const size_t length_bytes = version == 1 ? 2 : 4;
  const uint32_t length = read_length(file, length_bytes);
  require(length <= kMaxHeader, "load_npy", file.path, ": header of ", length, " bytes, expected at most ", kMaxHeader);
  std::string text(length, '\0');
  read_all(file, text.data(), length);
  data_begin = start.size() + length_bytes + length;
  return HeaderParser(text, file.path).parse();
}

/// NumPy's word for a dtype that is read by rows, if it is one.
std::optional<StoredType> stored_type(std::string_view descr) {
  const auto* known = std::ranges::find(kStoredTypes, descr, &StoredType::descr);
  if (known != kStoredTypes.end()) return *known;
  constexpr uint64_t kMostCharacters = 4096;
  const bool wide = descr.starts_with("<U");
  if (!wide && !descr.starts_with("|S")) return std::nullopt;
  uint64_t length = 0;
  const auto [end, error] = std::from_chars(descr.data() + 2, descr.data() + descr.size(), length);
  if (error != std::errc{} || end != descr.data() + descr.size() || length == 0 || length > kMostCharacters)
    return std::nullopt;
  return StoredType{{}, wide ? Element::utf32 : Element::bytes, wide ? 4 * length : length};
}

/// Throws Error unless elements of `each` bytes are what is behind the header; 0: unknown, any size of it will do.
void check_size(const NpyBytes& file, const Header& header, uint64_t each, uint64_t data_begin) {
  std::vector<uint64_t> factors = header.extents;
  factors.push_back(std::max(each, uint64_t{1}));
  const std::optional<uint64_t> bytes = checked_product(factors);
  require(bytes.has_value(), "load_npy", file.path, ": the shape's size overflows");
  require(each == 0 || file.size - data_begin == *bytes, "load_npy", file.path, ": expected ", *bytes,
          " bytes of data for the shape, got ", file.size - data_begin);
}

Shape shape_of(const Header& header) {
  return Shape(std::vector<int64_t>(header.extents.begin(), header.extents.end()));
}

NpyBytes bytes_of(InputFile& file) {
  require(file.size().has_value(), "load_npy", file.path(), ": expected a regular file");
  return {file.path(), *file.size(), [&](void* to, size_t count) { return file.read_some(to, count); }};
}

/// What stands before the data, held against the size of it all.
struct Beginning {
  Header header;
  const NpyType* type = nullptr;  // none: elements that no tensor has, whose size was not looked at
  uint64_t data_begin = 0;
};

Beginning read_beginning(const NpyBytes& file) {
  Beginning result;
  result.header = read_header(file, result.data_begin);
  const auto* type = std::ranges::find(kTypes, result.header.descr, &NpyType::descr);
  const bool known = type != kTypes.end();
  check_size(file, result.header, known ? size_of(type->dtype) : 0, result.data_begin);
  if (known) result.type = type;
  return result;
}

}  // namespace

NpyArray read_npy(const NpyBytes& file) {
  const Beginning begin = read_beginning(file);
  NpyArray array{.descr = begin.header.descr, .shape = {begin.header.extents.begin(), begin.header.extents.end()}};
  if (begin.type == nullptr) return array;
  array.tensor = Tensor::empty(Shape(array.shape), begin.type->dtype);
  read_all(file, array.tensor.raw(), array.tensor.bytes());
  return array;
}

NpyFile::NpyFile(const std::string& path) : file_(path) {
  const Beginning begin = read_beginning(bytes_of(file_));
  require(begin.type != nullptr && begin.type->dtype != DType::bf16, "load_npy", path,
          ": expected dtype <f4, <f8, <i8 or |u1, got ", excerpt(begin.header.descr));
  data_begin_ = begin.data_begin;
  dtype_ = begin.type->dtype;
  shape_ = shape_of(begin.header);
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

StoredArray open_npy(const std::string& path) {
  refuse_pipe(path);
  const auto file = std::make_shared<InputFile>(path);
  const NpyBytes bytes = bytes_of(*file);
  uint64_t data_begin = 0;
  const Header header = read_header(bytes, data_begin);
  const std::optional<StoredType> type = stored_type(header.descr);
  require(type.has_value(), "load_npy", path, ": expected dtype <f2, <f4, <f8, an integer, |b1, <U or |S, got ",
          excerpt(header.descr));
  check_size(bytes, header, type->bytes, data_begin);
  return {file, path, type->element, type->bytes, shape_of(header), data_begin};
}

Tensor load_npy(const std::string& path) { return NpyFile(path).read(); }

std::string npy_header(const Tensor& tensor, const std::string& what) {
  require(tensor.defined(), "save_npy", what, ": expected a tensor, got none");
  std::string_view descr;
  for (const NpyType& type : kTypes) {
    if (type.dtype == tensor.dtype()) descr = type.descr;
  }
  require(!descr.empty() && tensor.dtype() != DType::bf16, "save_npy", what, ": expected f32, f64, i64 or u8, got ",
          tensor);

  std::string header = "{'descr': '" + std::string(descr) + "', 'fortran_order': False, 'shape': (";
  for (int axis = 0; axis < tensor.ndim(); ++axis) header += (axis > 0 ? ", " : "") + std::to_string(tensor.dim(axis));
  header += tensor.ndim() == 1 ? ",), }" : "), }";
  // The data starts at a multiple of 64 bytes, as the format asks; the header ends with a new line.
  const size_t prefix = kMagic.size() + 4;
  header.append(63 - (prefix + header.size()) % 64, ' ').push_back('\n');
  const std::array<char, 4> version_and_length{1, 0, static_cast<char>(header.size() & 0xff),
                                               static_cast<char>(header.size() >> 8)};
  return std::string(kMagic).append(version_and_length.data(), version_and_length.size()) + header;
}

void save_npy(const std::string& path, const Tensor& tensor) {
  const std::string header = npy_header(tensor, path);
  AtomicFile file(path);
  file.write(header);
  const Tensor host = tensor.to(Device::cpu);
  file.write(host.raw(), host.bytes());
  file.commit();
}

}  // namespace sked
