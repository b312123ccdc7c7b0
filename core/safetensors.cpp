#include "core/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

#include "core/file.h"
#include "core/text.h"
#include "core/xxh64.h"

namespace sked {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxHeader = 100'000'000;  // the reference implementation's limit
constexpr size_t kLengthBytes = 8;
constexpr const char* kMetadata = "__metadata__";
constexpr const char* kChecksum = "xxh64";

struct TypeName {
  std::string_view name;
  DType dtype;
};
constexpr std::array kTypes{TypeName{"F32", DType::f32}, TypeName{"F64", DType::f64}, TypeName{"BF16", DType::bf16},
                            TypeName{"I64", DType::i64}, TypeName{"U8", DType::u8}};

/// One entry of the header: where a tensor's bytes lie in the data that follows it.
struct Entry {
  std::string name;
  DType dtype = DType::f32;
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
  json parse(const std::string& text) const;
  Entry entry(const std::string& name, const json& value) const;
  DType dtype(const std::string& name, const json& value) const;
  uint64_t unsigned_number(const std::string& name, const char* what, const json& value) const;
  void read_metadata(const json& value, std::map<std::string, std::string>& metadata) const;

  const std::string& path_;
};

/// The library keeps the last of two equal keys and says nothing; its callback sees both. It also sees the depth, of
/// which the format needs three: a file of brackets is refused before it fills the memory.
json HeaderReader::parse(const std::string& text) const {
  std::vector<std::set<std::string>> keys;
  const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
    check(depth <= 3, "expected at most 3 levels of nesting in the header, got more");
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      check(keys.back().insert(key).second, "the key \"", excerpt(key), "\" stands twice in the header");
    }
    return true;
  };
  check(text.starts_with('{'), "expected the header to be a JSON object");
  try {
    return json::parse(text, watch);
  } catch (const json::exception& error) {
    fail("load_safetensors", path_, ": the header is not valid JSON: ", excerpt(error.what()));
  }
}

DType HeaderReader::dtype(const std::string& name, const json& value) const {
  check(value.is_string(), "dtype of \"", name, "\": expected a string");
  const auto& text = value.get_ref<const std::string&>();
  for (const TypeName& type : kTypes) {
    if (type.name == text) return type.dtype;
  }
  fail("load_safetensors", path_, ": dtype of \"", name, "\": expected F32, F64, BF16, I64 or U8, got ", excerpt(text));
}

uint64_t HeaderReader::unsigned_number(const std::string& name, const char* what, const json& value) const {
  check(value.is_number_unsigned(), what, " of \"", name, "\": expected whole numbers from 0 on");
  return value.get<uint64_t>();
}

Entry HeaderReader::entry(const std::string& full_name, const json& value) const {
  const std::string name = excerpt(full_name);  // for messages
  check(value.is_object() && value.size() == 3 && value.contains("dtype") && value.contains("shape") &&
            value.contains("data_offsets"),
        "\"", name, "\": expected an object of dtype, shape and data_offsets");
  Entry entry{full_name, dtype(name, value["dtype"]), {}, 0, 0};

  const json& shape = value["shape"];
  check(shape.is_array(), "shape of \"", name, "\": expected an array");
  check(shape.size() <= Shape::kMaxDims, "shape of \"", name, "\": expected at most ", Shape::kMaxDims, " axes, got ",
        shape.size());
  std::vector<uint64_t> factors;
  for (const json& extent : shape) factors.push_back(unsigned_number(name, "shape", extent));
  entry.extents.assign(factors.begin(), factors.end());
  factors.push_back(size_of(entry.dtype));
  const std::optional<uint64_t> bytes = checked_product(factors);
  check(bytes.has_value(), "shape of \"", name, "\": its size overflows");

  const json& offsets = value["data_offsets"];
  check(offsets.is_array() && offsets.size() == 2, "data_offsets of \"", name, "\": expected two numbers");
  entry.begin = unsigned_number(name, "data_offsets", offsets[0]);
  entry.end = unsigned_number(name, "data_offsets", offsets[1]);
  check(entry.begin <= entry.end && entry.end - entry.begin == *bytes, "data_offsets of \"", name, "\": expected ",
        *bytes, " bytes for its shape, got [", entry.begin, ", ", entry.end, ")");
  return entry;
}

void HeaderReader::read_metadata(const json& value, std::map<std::string, std::string>& metadata) const {
  check(value.is_object(), "expected ", kMetadata, " to be an object of strings");
  for (const auto& [key, text] : value.items()) {
    check(text.is_string(), "expected the metadata \"", excerpt(key), "\" to be a string");
    metadata[key] = text.get<std::string>();
  }
}

std::vector<Entry> HeaderReader::read(const std::string& text, std::map<std::string, std::string>& metadata) const {
  const json header = parse(text);
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
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

/// Takes the checksums out of the metadata, once everything has been held against them.
void check_sums(TensorFile& file, const std::string& path) {
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
  for (const NamedTensor& t : file.tensors)
    check(checksum_key(t.name), "\"" + excerpt(t.name) + "\"", checksum_of(t.tensor));
  require(sums.empty(), "load_safetensors", path, ": a checksum of \"",
          sums.empty() ? "" : excerpt(sums.begin()->first.substr(checksum_key("").size())),
          "\", which the file does not hold: it is damaged, or was changed without its checksums");
}

std::string header_text(const std::string& path, const std::vector<NamedTensor>& tensors,
                        const std::vector<size_t>& order, const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[kMetadata] = metadata;
  uint64_t at = 0;
  std::set<std::string> names{kMetadata};
  for (const size_t i : order) {
    const auto& [name, tensor] = tensors[i];
    require(names.insert(name).second, "save_safetensors", path, ": the name \"", name, "\" is taken");
    const auto* type = std::ranges::find(kTypes, tensor.dtype(), &TypeName::dtype);
    // push_back: a look-up of the name would make the header quadratic
    header.get_ref<nlohmann::ordered_json::object_t&>().push_back(
        {name,
         {{"dtype", type->name},
          {"shape", std::vector(tensor.shape().begin(), tensor.shape().end())},
          {"data_offsets", {at, at + tensor.bytes()}}}});
    at += tensor.bytes();
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const json::exception& error) {
    fail("save_safetensors", path, ": a name or the metadata is not UTF-8: ", error.what());
  }
  text.append((kLengthBytes - text.size() % kLengthBytes) % kLengthBytes, ' ');
  require(text.size() <= kMaxHeader, "save_safetensors", path, ": header of ", text.size(), " bytes, expected at most ",
          kMaxHeader);
  return text;
}

}  // namespace

const Tensor& TensorFile::at(const std::string& name) const {
  const auto found = std::ranges::find(tensors, name, &NamedTensor::name);
  if (found != tensors.end()) return found->tensor;
  std::vector<std::string> names;
  for (const NamedTensor& tensor : tensors) names.push_back(tensor.name);
  const std::string near = nearest(name, names);
  fail("tensor_file", "no tensor \"", name, "\" among ", names.size(), near.empty() ? "" : "; nearest: ", near);
}

bool TensorFile::contains(const std::string& name) const {
  return std::ranges::find(tensors, name, &NamedTensor::name) != tensors.end();
}

TensorFile load_safetensors(const std::string& path) {
  InputFile file(path);
  require(file.size().has_value(), "load_safetensors", path, ": expected a regular file");
  require(*file.size() >= kLengthBytes, "load_safetensors", path, ": expected at least ", kLengthBytes, " bytes, got ",
          *file.size());
  uint64_t length = 0;
  file.read(&length, kLengthBytes);
  const uint64_t most = std::min(kMaxHeader, *file.size() - kLengthBytes);
  require(length <= most, "load_safetensors", path, ": header of ", length, " bytes, expected at most ", most);
  std::string text(length, '\0');
  file.read(text.data(), length);

  TensorFile result;
  const std::vector<Entry> entries = HeaderReader(path).read(text, result.metadata);
  const uint64_t expected = entries.empty() ? 0 : entries.back().end;
  const uint64_t got = *file.size() - kLengthBytes - length;
  require(got == expected, "load_safetensors", path, ": expected ", expected, " bytes of data, got ", got);
  for (const Entry& entry : entries) {
    Tensor tensor = Tensor::empty(Shape(entry.extents), entry.dtype);
    file.read(tensor.raw(), tensor.bytes());
    result.tensors.push_back({entry.name, tensor});
  }
  check_sums(result, path);
  return result;
}

void save_safetensors(const std::string& path, const std::vector<NamedTensor>& given, const Metadata& metadata) {
  std::vector<NamedTensor> tensors;
  Metadata entries = metadata;
  if (!given.empty() || !metadata.empty()) entries[kChecksum] = checksum_of(metadata);
  for (const auto& [name, tensor] : given) {
    require(tensor.defined(), "save_safetensors", path, ": \"", name, "\" is undefined");
    tensors.push_back({name, tensor.to(Device::cpu)});
    entries[checksum_key(name)] = checksum_of(tensors.back().tensor);
  }
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::greater{}, [&](size_t i) { return size_of(tensors[i].tensor.dtype()); });

  const std::string header = header_text(path, tensors, order, entries);
  const uint64_t length = header.size();
  AtomicFile file(path);
  file.write(&length, kLengthBytes);
  file.write(header);
  for (const size_t i : order) file.write(tensors[i].tensor.raw(), tensors[i].tensor.bytes());
  file.commit();
}

}  // namespace sked
