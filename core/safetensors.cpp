#include "core/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "core/file.h"
#include "core/file_kind.h"
#include "core/half.h"
#include "core/json.h"
#include "core/text.h"
#include "core/xxh64.h"

namespace sked {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // the reference implementation's limit
constexpr size_t kLengthBytes = 8;
constexpr const char* kMetadata = "__metadata__";
constexpr const char* kChecksum = "xxh64";

/// A dtype of the format. Those without a `dtype` are skipped; F16 becomes f32.
struct TypeName {
  std::string_view name;
  uint64_t bits;  // of an element
  std::optional<DType> dtype = std::nullopt;
  std::optional<Element> element = std::nullopt;  // as which it is read by rows
};
constexpr std::array kTypes{
    TypeName{"F32", 32, DType::f32, Element::f32},  // in front of F16: this is how f32 is written
    TypeName{"F16", 16, DType::f32, Element::f16},
    TypeName{"BF16", 16, DType::bf16, Element::bf16},
    TypeName{"F64", 64, DType::f64, Element::f64},
    TypeName{"I64", 64, DType::i64, Element::i64},
    TypeName{"U8", 8, DType::u8, Element::u8},
    TypeName{"BOOL", 8, std::nullopt, Element::boolean},
    TypeName{"I8", 8, std::nullopt, Element::i8},
    TypeName{"I16", 16, std::nullopt, Element::i16},
    TypeName{"U16", 16, std::nullopt, Element::u16},
    TypeName{"I32", 32, std::nullopt, Element::i32},
    TypeName{"U32", 32, std::nullopt, Element::u32},
    TypeName{"U64", 64, std::nullopt, Element::u64},
    TypeName{"C64", 64},
    TypeName{"F8_E5M2", 8},
    TypeName{"F8_E4M3", 8},
    TypeName{"F8_E8M0", 8},
    TypeName{"F8_E4M3FNUZ", 8},
    TypeName{"F8_E5M2FNUZ", 8},
    TypeName{"F6_E2M3", 6},
    TypeName{"F6_E3M2", 6},
    TypeName{"F4", 4},
};

/// One entry of the header: where a tensor's bytes lie in the data that follows it.
struct Entry {
  std::string name;
  const TypeName* type = nullptr;
  std::vector<int64_t> extents;
  uint64_t begin = 0, end = 0;
};

/// Turns the header's text into entries. Every message names the file.
class HeaderReader {
 public:
  explicit HeaderReader(const std::string& path) : path_(path) {}

  /// The entries in the order of their bytes, and the metadata.
  std::vector<Entry> read(const std::string& text, std::map<std::string, std::string>& metadata) const;

 private:
  template <class... Parts>
  void check(bool ok, const Parts&... parts) const {
    require(ok, "load_safetensors", path_, ": ", parts...);
  }
  Json parse(const std::string& text) const;
  Entry entry(const std::string& name, const Json& value) const;
  const TypeName& type(const std::string& name, const Json& value) const;
  uint64_t unsigned_number(const std::string& name, const char* what, const Json& value) const;
  void read_metadata(const Json& value, std::map<std::string, std::string>& metadata) const;

  const std::string& path_;
};

Json HeaderReader::parse(const std::string& text) const {
  check(text.starts_with('{'), "expected the header to be a JSON object");
  constexpr size_t kLevels = 3;  // of the format
  JsonRead header = read_json(text, kLevels);
  const std::optional<JsonProblem>& problem = header.problem;
  check(!problem, "the header is not ",
        problem && problem->byte > 0 ? "valid JSON: " : "one: ", problem ? excerpt(problem->what) : "");
  return std::move(header.value);
}

const TypeName& HeaderReader::type(const std::string& name, const Json& value) const {
  check(value.is_string(), "dtype of \"", name, "\": expected a string");
  const auto& text = value.string();
  for (const TypeName& type : kTypes) {
    if (type.name == text) return type;
  }
  fail("load_safetensors", path_, ": dtype of \"", name, "\": expected one of the format, such as F32, got ",
       excerpt(text));
}

uint64_t HeaderReader::unsigned_number(const std::string& name, const char* what, const Json& value) const {
  check(value.is_unsigned(), what, " of \"", name, "\": expected whole numbers from 0 on");
  return value.unsigned_integer();
}

Entry HeaderReader::entry(const std::string& full_name, const Json& value) const {
  const std::string name = excerpt(full_name);  // for messages
  check(value.is_object() && value.size() == 3 && value.contains("dtype") && value.contains("shape") &&
            value.contains("data_offsets"),
        "\"", name, "\": expected an object of dtype, shape and data_offsets");
  Entry entry{full_name, &type(name, value.at("dtype")), {}, 0, 0};

  const Json& shape = value.at("shape");
  check(shape.is_array(), "shape of \"", name, "\": expected an array");
  check(shape.size() <= Shape::kMaxDims, "shape of \"", name, "\": expected at most ", Shape::kMaxDims, " axes, got ",
        shape.size());
  std::vector<uint64_t> factors;
  for (const Json& extent : shape.elements()) factors.push_back(unsigned_number(name, "shape", extent));
  entry.extents.assign(factors.begin(), factors.end());
  factors.push_back(entry.type->bits);
  const std::optional<uint64_t> bits = checked_product(factors);
  check(bits.has_value(), "shape of \"", name, "\": its size overflows");
  check(*bits % 8 == 0, "shape of \"", name, "\": expected whole bytes, got ", *bits, " bits");
  const uint64_t bytes = *bits / 8;

  const Json& offsets = value.at("data_offsets");
  check(offsets.is_array() && offsets.size() == 2, "data_offsets of \"", name, "\": expected two numbers");
  entry.begin = unsigned_number(name, "data_offsets", offsets.elements()[0]);
  entry.end = unsigned_number(name, "data_offsets", offsets.elements()[1]);
  check(entry.begin <= entry.end && entry.end - entry.begin == bytes, "data_offsets of \"", name, "\": expected ",
        bytes, " bytes for its shape, got [", entry.begin, ", ", entry.end, ")");
  return entry;
}

void HeaderReader::read_metadata(const Json& value, std::map<std::string, std::string>& metadata) const {
  check(value.is_object(), "expected ", kMetadata, " to be an object of strings");
  for (const auto& [key, text] : value.members()) {
    check(text.is_string(), "expected the metadata \"", excerpt(key), "\" to be a string");
    metadata[key] = text.string();
  }
}

std::vector<Entry> HeaderReader::read(const std::string& text, std::map<std::string, std::string>& metadata) const {
  const Json header = parse(text);
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.members()) {
    if (name == kMetadata) {
      read_metadata(value, metadata);
    } else {
      entries.push_back(entry(name, value));
    }
  }
  // Tensors without elements share their offset with the next one, and come before it.
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t at = 0;
  for (const Entry& entry : entries) {
    check(entry.begin == at, "\"", excerpt(entry.name), "\" begins at byte ", entry.begin, ", expected ", at,
          " (no gap, no overlap)");
    at = entry.end;
  }
  return entries;
}

using Metadata = std::map<std::string, std::string>;

std::string checksum_of(const Metadata& metadata) {
  std::string all;
  for (const auto& [key, text] : metadata) all.append(key).append("\n").append(text).append("\n");
  return xxh64(all.data(), all.size());
}
std::string checksum_of(const Tensor& tensor) { return xxh64(tensor.raw(), tensor.bytes()); }
std::string checksum_key(const std::string& tensor) { return std::string(kChecksum) + "." + tensor; }

/// Takes the checksums out of the metadata, once everything that was read has been held against them; some are `known`
/// already.
void check_sums(TensorFile& file, const std::string& path, bool with_tensors, const Metadata& known = {}) {
  Metadata sums;
  for (auto at = file.metadata.begin(); at != file.metadata.end();) {
    const auto entry = at++;
    if (entry->first == kChecksum || entry->first.starts_with(checksum_key("")))
      sums.insert(file.metadata.extract(entry));
  }
  file.checked = sums.contains(kChecksum);
  require(file.checked || sums.empty(), "load_safetensors", path,
          ": checksums of tensors and none of the metadata: it is damaged");
  const auto check = [&](const std::string& key, const std::string& what, const std::string& now) {
    const auto sum = sums.extract(key);
    require(sum.empty() || sum.mapped() == now, "load_safetensors", path, ": ", what,
            " is not what was written (its checksum is ", now, ", expected ", sum.empty() ? "" : excerpt(sum.mapped()),
            "): the file is damaged, or was changed without its checksums");
  };
  check(kChecksum, "the metadata", checksum_of(file.metadata));
  if (!with_tensors) return;
  for (const NamedTensor& t : file.tensors)
    check(checksum_key(t.name), "\"" + excerpt(t.name) + "\"",
          known.contains(t.name) ? known.at(t.name) : checksum_of(t.tensor));
  require(sums.empty(), "load_safetensors", path, ": a checksum of \"",
          sums.empty() ? "" : excerpt(sums.begin()->first.substr(checksum_key("").size())),
          "\", which the file does not hold: it is damaged, or was changed without its checksums");
}

const TypeName& type_of(const std::string& path, const PlannedTensor& tensor) {
  const auto* type = std::ranges::find(kTypes, tensor.dtype, &TypeName::name);
  require(type != kTypes.end(), "save_safetensors", path, ": \"", excerpt(tensor.name),
          "\": no dtype of the format: ", excerpt(tensor.dtype));
  return *type;
}

std::string header_text(const std::string& path, const std::vector<PlannedTensor>& tensors, const Metadata& metadata) {
  const auto check_utf8 = [&](const std::string& text) {
    require(!invalid_utf8(text), "save_safetensors", path, ": a name or the metadata is not UTF-8: ", excerpt(text));
  };
  for (const auto& [key, text] : metadata) check_utf8(key), check_utf8(text);
  Json header = Json::object();
  if (!metadata.empty()) header[kMetadata] = metadata;
  uint64_t at = 0;
  std::set<std::string> names{kMetadata};
  for (const PlannedTensor& tensor : tensors) {
    check_utf8(tensor.name);
    require(names.insert(tensor.name).second, "save_safetensors", path, ": the name \"", excerpt(tensor.name),
            "\" is taken");
    uint64_t bytes = type_of(path, tensor).bits / 8;
    for (const int64_t extent : tensor.shape) bytes *= static_cast<uint64_t>(extent);
    header.append(tensor.name,
                  {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", Json::array({at, at + bytes})}});
    at += bytes;
  }
  return header.dump();
}

/// Reads halves into f32, a piece at a time. Returns the checksum of the halves.
std::string read_halves(InputFile& file, Tensor& tensor) {
  Xxh64 sum;
  std::vector<uint16_t> piece(static_cast<size_t>(std::min<int64_t>(tensor.numel(), 1 << 16)));
  float* out = tensor.data<float>();
  for (auto left = static_cast<size_t>(tensor.numel()); left > 0;) {
    const size_t count = std::min(left, piece.size());
    file.read(piece.data(), 2 * count);
    sum.add(piece.data(), 2 * count);
    out = std::transform(piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(count), out, from_half);
    left -= count;
  }
  return sum.hex();
}

/// Moves on by `count` bytes.
void pass_over(InputFile& file, uint64_t count) {
  std::vector<char> piece(static_cast<size_t>(std::min<uint64_t>(count, 1 << 16)));
  for (; count > 0; count -= std::min<uint64_t>(count, piece.size()))
    file.read(piece.data(), static_cast<size_t>(std::min<uint64_t>(count, piece.size())));
}

void read_tensor(InputFile& file, const Entry& entry, TensorFile& result, Metadata& sums) {
  if (!entry.type->dtype) {
    pass_over(file, entry.end - entry.begin);
    result.skipped.push_back({entry.name, std::string(entry.type->name), entry.extents});
    return;
  }
  Tensor tensor = Tensor::empty(Shape(entry.extents), *entry.type->dtype);
  if (entry.type->name == "F16")
    sums[entry.name] = read_halves(file, tensor);
  else
    file.read(tensor.raw(), tensor.bytes());
  result.tensors.push_back({entry.name, tensor});
}

}  // namespace

const Tensor& TensorFile::at(const std::string& name) const {
  const auto found = std::ranges::find(tensors, name, &NamedTensor::name);
  if (found != tensors.end()) return found->tensor;
  for (const SkippedTensor& other : skipped)
    require(other.name != name, "tensor_file", "the tensor \"", name, "\" is ", other.dtype, ", which is not read");
  std::vector<std::string> names;
  for (const NamedTensor& tensor : tensors) names.push_back(tensor.name);
  const std::string near = nearest(name, names);
  fail("tensor_file", "no tensor \"", name, "\" among ", names.size(), near.empty() ? "" : "; nearest: ", near);
}

bool TensorFile::contains(const std::string& name) const {
  return std::ranges::find(tensors, name, &NamedTensor::name) != tensors.end();
}

namespace {

/// A file's header, checked.
struct Header {
  std::vector<Entry> entries;
  Metadata metadata;
  uint64_t data_begin = 0;
};

Header read_header(InputFile& file) {
  const std::string& path = file.path();
  require(file.size().has_value(), "load_safetensors", path, ": expected a regular file");
  require(*file.size() > 0, "load_safetensors", path, ": an empty file, expected safetensors");
  require(*file.size() >= kLengthBytes, "load_safetensors", path, ": a file of ", *file.size(),
          " bytes, expected at least the ", kLengthBytes, " that safetensors begins with");
  uint64_t length = 0;
  file.read(&length, kLengthBytes);
  const uint64_t most = std::min(kMaxHeader, *file.size() - kLengthBytes);
  if (length > most) {
    std::string begin(kKindBytes, '\0');
    begin.resize(file.read_at(0, begin.data(), begin.size()));
    const std::string kind = file_kind(begin);
    require(kind.empty() || kind == kSafetensors, "load_safetensors", path, ": expected a safetensors file, got ",
            kind);
    fail("load_safetensors", path, ": header of ", length, " bytes, expected at most ", most,
         ": not a safetensors file, or one that is cut off");
  }
  std::string text(length, '\0');
  file.read(text.data(), length);

  Header header;
  header.entries = HeaderReader(path).read(text, header.metadata);
  header.data_begin = kLengthBytes + length;
  const uint64_t expected = header.entries.empty() ? 0 : header.entries.back().end;
  const uint64_t got = *file.size() - header.data_begin;
  require(got == expected, "load_safetensors", path, ": expected ", expected, " bytes of data, got ", got,
          got < expected ? ": it is cut off" : "");
  return header;
}

TensorFile load(const std::string& path, bool with_tensors) {
  InputFile file(path);
  Header header = read_header(file);
  TensorFile result;
  result.metadata = std::move(header.metadata);
  Metadata sums;  // of tensors whose bytes in the file are not those in memory
  if (with_tensors)
    for (const Entry& entry : header.entries) read_tensor(file, entry, result, sums);
  check_sums(result, path, with_tensors, sums);
  return result;
}

}  // namespace

TensorFile load_safetensors(const std::string& path) { return load(path, true); }
TensorFile load_safetensors_header(const std::string& path) { return load(path, false); }

StoredTensors open_safetensors(const std::string& path) {
  refuse_pipe(path);
  const auto file = std::make_shared<InputFile>(path);
  Header header = read_header(*file);
  TensorFile checked{.metadata = std::move(header.metadata)};
  check_sums(checked, path, false);
  StoredTensors stored{.metadata = std::move(checked.metadata)};
  for (const Entry& entry : header.entries) {
    if (!entry.type->element) continue;
    stored.tensors.emplace(entry.name,
                           StoredArray(file, path + ": \"" + excerpt(entry.name) + "\"", *entry.type->element,
                                       entry.type->bits / 8, Shape(entry.extents), header.data_begin + entry.begin));
  }
  return stored;
}

std::string safetensors_beginning(const std::string& path, const std::vector<PlannedTensor>& tensors,
                                  const Metadata& metadata, uint64_t length) {
  Metadata entries = metadata;
  for (const auto& [key, text] : metadata)
    require(key != kChecksum && !key.starts_with(checksum_key("")), "save_safetensors", path, ": metadata ",
            excerpt(key), ": expected another key, which is that of a checksum");
  if (!tensors.empty() || !metadata.empty()) entries[kChecksum] = checksum_of(metadata);
  for (const PlannedTensor& tensor : tensors) entries[checksum_key(tensor.name)] = tensor.checksum;
  std::string text = header_text(path, tensors, entries);
  if (length == 0) length = kLengthBytes + (text.size() + kLengthBytes - 1) / kLengthBytes * kLengthBytes;
  require(kLengthBytes + text.size() <= length && length - kLengthBytes <= kMaxHeader, "save_safetensors", path,
          ": header of ", text.size(), " bytes, expected at most ", std::min(kMaxHeader, length - kLengthBytes));
  text.resize(static_cast<size_t>(length) - kLengthBytes, ' ');
  const uint64_t count = text.size();
  std::string beginning(kLengthBytes, '\0');
  std::memcpy(beginning.data(), &count, kLengthBytes);
  return beginning + text;
}

namespace {

/// f(bytes, count) with the bytes of the whole of a tensor, on rank 0; on the others, which have shares of it, nothing
/// is called.
template <class F>
void for_each_share(const SharedTensor& t, Communicator& ranks, F&& f) {
  if (!t.share.divided) return f(t.tensor.raw(), t.tensor.bytes());
  const std::vector<int64_t> counts = all_gather_number(ranks, t.tensor.numel());
  for (int64_t rank = 0; rank < ranks.size(); ++rank) {
    Tensor share =
        rank == ranks.rank() ? t.tensor : Tensor::empty({counts[static_cast<size_t>(rank)]}, t.tensor.dtype());
    share = share.reshape({-1});
    ranks.broadcast(share, rank);
    if (ranks.rank() == 0) f(std::as_const(share).raw(), share.bytes());
  }
}

}  // namespace

void save_safetensors(const std::string& path, const std::vector<SharedTensor>& given, const Metadata& metadata,
                      Communicator& ranks) {
  std::vector<SharedTensor> tensors;
  for (const SharedTensor& t : given) {
    require(t.tensor.defined(), "save_safetensors", path, ": \"", t.name, "\" is undefined");
    if (ranks.rank() == 0 || t.share.divided) tensors.push_back({t.name, t.tensor.to(Device::cpu), t.share});
  }
  std::ranges::stable_sort(tensors, std::greater{}, [](const SharedTensor& t) { return size_of(t.tensor.dtype()); });
  std::vector<PlannedTensor> planned;
  for (const SharedTensor& t : tensors) {
    const auto* type = std::ranges::find(kTypes, std::optional(t.tensor.dtype()), &TypeName::dtype);
    const Shape& shape = t.whole_shape();
    Xxh64 sum;
    for_each_share(t, ranks, [&](const void* bytes, size_t count) { sum.add(bytes, count); });
    planned.push_back({t.name, std::string(type->name), {shape.begin(), shape.end()}, sum.hex()});
  }
  std::optional<AtomicFile> file;
  if (ranks.rank() == 0) {
    const std::string beginning = safetensors_beginning(path, planned, metadata);
    file.emplace(path);
    file->write(beginning);
  }
  for (const SharedTensor& t : tensors)
    for_each_share(t, ranks, [&](const void* bytes, size_t count) { file->write(bytes, count); });
  if (file) file->commit();
}

void save_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors, const Metadata& metadata) {
  std::vector<SharedTensor> whole;
  for (const auto& [name, tensor] : tensors) whole.push_back({name, tensor});
  save_safetensors(path, whole, metadata, alone());
}

}  // namespace sked
