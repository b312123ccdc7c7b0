#include "core/stored_array.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "core/half.h"
#include "core/text.h"

namespace sked {
namespace {

/// Calls f(T{}) with the type of C++ that holds whole numbers of this kind as the file does; false for others.
template <class F>
bool visit_integer(Element element, F&& f) {
  switch (element) {
    case Element::u8:
    case Element::boolean:
      return f(uint8_t{}), true;
    case Element::i8:
      return f(int8_t{}), true;
    case Element::u16:
      return f(uint16_t{}), true;
    case Element::i16:
      return f(int16_t{}), true;
    case Element::u32:
      return f(uint32_t{}), true;
    case Element::i32:
      return f(int32_t{}), true;
    case Element::u64:
      return f(uint64_t{}), true;
    case Element::i64:
      return f(int64_t{}), true;
    default:
      return false;
  }
}

template <class From, class To>
void convert(const char* bytes, size_t count, To* out) {
  for (size_t i = 0; i < count; ++i) {
    From value;
    std::memcpy(&value, bytes + i * sizeof value, sizeof value);
    out[i] = static_cast<To>(value);
  }
}

void append_utf8(char32_t c, std::string& text) {
  if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) c = 0xFFFD;  // no character: the sign for one that is not known
  const auto add = [&](char32_t bits) { text += static_cast<char>(bits); };
  const auto add_behind = [&](int shift) { add(0x80 | ((c >> shift) & 0x3F)); };
  if (c < 0x80) return add(c);
  if (c < 0x800) return add(0xC0 | (c >> 6)), add_behind(0);
  if (c < 0x10000) return add(0xE0 | (c >> 12)), add_behind(6), add_behind(0);
  add(0xF0 | (c >> 18)), add_behind(12), add_behind(6), add_behind(0);
}

}  // namespace

const char* name(Element element) {
  constexpr const char* kNames[]{"f32", "f64", "f16", "bf16", "u8",   "i8",   "u16", "i16",
                                 "u32", "i32", "u64", "i64",  "bool", "text", "text"};
  return kNames[static_cast<size_t>(element)];
}

bool is_floating(Element element) {
  return element == Element::f32 || element == Element::f64 || element == Element::f16 || element == Element::bf16;
}

StoredArray::StoredArray(std::shared_ptr<const InputFile> file, std::string name, Element element, size_t bytes_each,
                         Shape shape, uint64_t begin)
    : file_(std::move(file)),
      name_(std::move(name)),
      element_(element),
      bytes_each_(bytes_each),
      shape_(shape),
      row_size_(shape.ndim() == 0 ? 1 : shape.product(1, shape.ndim())),
      begin_(begin) {}

const char* StoredArray::read_bytes(int64_t begin, int64_t end, void* out) const {
  require(0 <= begin && begin <= end && end <= rows(), "read_rows", name_, ": expected rows in 0 to ", rows(), ", got ",
          begin, " to ", end);
  const uint64_t first = static_cast<uint64_t>(begin) * row_bytes();
  const uint64_t count = static_cast<uint64_t>(end - begin) * row_bytes();
  if (kept_ != nullptr) {
    const char* bytes = kept_->data() + first;
    return out == nullptr ? bytes : static_cast<const char*>(std::memcpy(out, bytes, count));
  }
  if (out == nullptr) {
    thread_local std::vector<char> memory;
    if (memory.size() < count) memory.resize(count);
    out = memory.data();
  }
  require(file_->read_at(begin_ + first, out, count) == count, "read_rows", name_,
          ": the file got shorter while it was read");
  return static_cast<const char*>(out);
}

void StoredArray::keep() {
  std::vector<char> bytes(static_cast<uint64_t>(rows()) * row_bytes());
  read_bytes(0, rows(), bytes.data());
  kept_ = std::make_shared<const std::vector<char>>(std::move(bytes));
}

void StoredArray::read(int64_t begin, int64_t end, float* out) const {
  const bool as_it_is = element_ == Element::f32;
  const char* bytes = read_bytes(begin, end, as_it_is ? out : nullptr);
  if (as_it_is) return;
  const auto count = static_cast<size_t>((end - begin) * row_size_);
  if (element_ == Element::f16)
    std::transform(reinterpret_cast<const uint16_t*>(bytes), reinterpret_cast<const uint16_t*>(bytes) + count, out,
                   from_half);
  else if (element_ == Element::bf16)
    convert<bf16>(bytes, count, out);
  else if (element_ == Element::f64)
    convert<double>(bytes, count, out);
  else
    require(visit_integer(element_, [&](auto type) { convert<decltype(type)>(bytes, count, out); }), "read_rows", name_,
            ": expected numbers, got ", sked::name(element_));
}

void StoredArray::read(int64_t begin, int64_t end, int64_t* out) const {
  const char* bytes = read_bytes(begin, end, nullptr);
  const auto count = static_cast<size_t>((end - begin) * row_size_);
  require(visit_integer(element_, [&](auto type) { convert<decltype(type)>(bytes, count, out); }), "read_rows", name_,
          ": expected whole numbers, got ", sked::name(element_));
  for (size_t i = 0; element_ == Element::u64 && i < count; ++i)
    require(out[i] >= 0, "read_rows", name_, ": ", static_cast<uint64_t>(out[i]), " is no i64");
}

bool StoredArray::holds_words() const {
  if (element_ == Element::u8 && shape_.ndim() == 2) return true;
  return shape_.ndim() == 1 && !is_floating(element_) && element_ != Element::boolean;
}

std::string StoredArray::word(int64_t i) const {
  require(holds_words(), "read_rows", name_, ": expected whole numbers (N), text (N) or UTF-8 (N, L) u8, got ", shape_,
          " ", sked::name(element_));
  if (shape_.ndim() == 1 && element_ != Element::bytes && element_ != Element::utf32) {
    int64_t number = 0;
    read(i, i + 1, &number);
    return std::to_string(number);
  }
  const char* bytes = read_bytes(i, i + 1, nullptr);
  std::string text;
  if (element_ == Element::utf32) {
    std::vector<char32_t> characters(row_bytes() / sizeof(char32_t));
    std::memcpy(characters.data(), bytes, row_bytes());
    for (const char32_t c : characters) append_utf8(c, text);
  } else {
    text.assign(bytes, row_bytes());
  }
  text.resize(text.find_last_not_of('\0') + 1);
  return valid_utf8(text);
}

}  // namespace sked
