#include "core/safetensors.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "core/half.h"
#include "core/xxh64.h"
#include "tests/common/files.h"

namespace sked {
namespace {

using test::error_of;
using test::one_line_with;
using test::slurp;
using test::TemporaryFolder;
using namespace std::string_literals;

/// A file with this header and data, the length of the header as it is or a lie.
std::string safetensors(const std::string& header, const std::string& data, uint64_t length) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + data;
}
std::string safetensors(const std::string& header, const std::string& data) {
  return safetensors(header, data, header.size());
}

/// One entry of a header.
std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

/// The error of loading these bytes.
std::string message(const std::string& bytes) {
  const TemporaryFolder folder;
  return error_of([&] { load_safetensors(folder.write("x.safetensors", bytes)); });
}
std::string message(const std::string& header, const std::string& data) { return message(safetensors(header, data)); }

TEST_CASE("safetensors: a file of the reference implementation is read") {
  const TensorFile file = load_safetensors("tests/fixtures/formats.safetensors");
  CHECK(file.tensors.size() == 10);
  CHECK(file.metadata == std::map<std::string, std::string>{{"format", "pt"}, {"about", "line 1\nline 2"}});

  CHECK(file.at("f32").shape() == Shape{2, 3});
  const auto f32 = file.at("f32").to_vector<float>();
  for (size_t i = 0; i < 6; ++i) CHECK(f32[i] == static_cast<float>(i) / 7.0f - 0.5f);
  CHECK(file.at("f64").to_vector<double>() == std::vector{1.0 / 3.0, -1e300});
  CHECK(file.at("bf16").shape() == Shape{3, 1});
  CHECK(file.at("bf16").dtype() == DType::bf16);
  CHECK(file.at("bf16").to_vector<float>() == std::vector{1.5f, -2.0f, static_cast<float>(bf16(3e38f))});
  using Limits = std::numeric_limits<int64_t>;
  CHECK(file.at("i64").to_vector<int64_t>() == std::vector<int64_t>{Limits::min(), Limits::max(), 7});
  CHECK(file.at("u8").to_vector<uint8_t>() == std::vector<uint8_t>{0, 1, 255});
  CHECK(file.at("scalar").shape() == Shape{});
  CHECK(file.at("scalar").item() == 42.0);
  CHECK(file.at("empty").shape() == Shape{0, 4});
  CHECK(file.at("näme \"with\" \\ signs").item() == 1.0);
}

TEST_CASE("safetensors: any flipped bit of what was written is found") {
  const TemporaryFolder folder;
  const std::string path = folder.path("x.safetensors");
  const Tensor w = Tensor::from<float>({1.5f, -2, 0, 3e8f}, {2, 2});
  save_safetensors(path, {{"w", w}, {"labels", Tensor::from<int64_t>({1, 2, 3}, {3})}}, {{"config", "{}"}});
  const std::string bytes = slurp(path);
  CHECK(load_safetensors(path).checked);
  CHECK_FALSE(load_safetensors("tests/fixtures/formats.safetensors").checked);
  const size_t data = bytes.size() - 40;
  CHECK(one_line_with(message(std::string(bytes).replace(data, 1, 1, static_cast<char>(bytes[data] ^ 1))), "\"labels\"",
                      "checksum", "damaged"));
  for (size_t bit = 8 * 8; bit < 8 * bytes.size(); ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
    CAPTURE(bit);
    // Blanks behind the header may become other blanks.
    const bool blank =
        flipped.substr(8, data - 8).find_last_not_of(" \t\n\r") != bytes.substr(8, data - 8).find_last_not_of(' ');
    if (bit >= 8 * data || !blank) CHECK(message(flipped) != "");
  }
}

TEST_CASE("safetensors: halves are read as the f32 they are") {
  const TensorFile file = load_safetensors("tests/fixtures/formats.safetensors");
  CHECK(file.at("f16").dtype() == DType::f32);
  const auto got = file.at("f16").to_vector<float>(), expected = file.at("f16 in f32").to_vector<float>();
  REQUIRE(got.size() == 13);
  for (size_t i = 0; i + 1 < got.size(); ++i)
    CHECK(std::bit_cast<uint32_t>(got[i]) == std::bit_cast<uint32_t>(expected[i]));
  CHECK(std::isnan(got.back()));

  // Each of the 65,536, in more than one piece: (-1)^s 2^(e-15) (1 + f/1024), or 2^-14 f/1024 where e is 0.
  std::vector<uint16_t> halves(1 << 17);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  const std::string data(reinterpret_cast<const char*>(halves.data()), 2 * halves.size());
  const TemporaryFolder folder;
  const std::string path =
      folder.write("halves", safetensors("{" + entry("a", "F16", "[2,65536]", "[0,262144]") + "}", data));
  const auto all = load_safetensors(path).at("a").to_vector<float>();
  REQUIRE(all.size() == halves.size());
  CHECK(std::ranges::equal(all, halves, [](float value, uint16_t half) {
    return std::isnan(value) ? (to_half(value) & 0x7e00) == 0x7e00 : to_half(value) == half;
  }));
  for (size_t i = 0; i < all.size(); ++i) {
    const int e = (halves[i] >> 10) & 31, f = halves[i] & 1023;
    const float sign = (halves[i] >> 15) != 0 ? -1.0f : 1.0f;
    CAPTURE(halves[i]);
    if (e == 31 && f != 0)
      CHECK(std::isnan(all[i]));
    else if (e == 31)
      CHECK(all[i] == sign * std::numeric_limits<float>::infinity());
    else
      CHECK(all[i] == sign * std::ldexp(static_cast<float>(e == 0 ? f : f + 1024), std::max(e, 1) - 25));
  }
}

TEST_CASE("safetensors: f32 becomes the nearest half, of two the even one") {
  const auto half_of = [](double value) { return to_half(static_cast<float>(value)); };
  const auto value_of = [](int half) {  // of one that is finite and not negative
    const int e = half >> 10, f = half & 1023;
    return std::ldexp(static_cast<double>(e == 0 ? f : f + 1024), std::max(e, 1) - 25);
  };
  int wrong = 0;
  for (int half = 0; half < 0x7c00; ++half) {  // and the next, which is 65536 behind the greatest
    const double middle = half < 0x7bff ? (value_of(half) + value_of(half + 1)) / 2 : 65520;
    const float below = std::nextafter(static_cast<float>(middle), 0.0F);
    const float above = std::nextafter(static_cast<float>(middle), 1e9F);
    wrong += half_of(below) != half || half_of(above) != half + 1 || half_of(middle) != half + (half & 1);
    wrong += half_of(-middle) != (0x8000 | (half + (half & 1)));
  }
  CHECK(wrong == 0);
}

TEST_CASE("safetensors: a file written piece by piece is the file written at once") {
  const TemporaryFolder folder;
  const Tensor w = Tensor::from<float>({1.5f, -2, 0, 3e8f}, {2, 2}), y = Tensor::from<int64_t>({1, 2}, {2});
  save_safetensors(folder.path("once"), {{"w", w}, {"y", y}}, {{"about", "x"}});
  const auto sum = [](const Tensor& t) { return xxh64(t.raw(), t.bytes()); };
  const std::vector<PlannedTensor> planned{{"y", "I64", {2}, sum(y)}, {"w", "F32", {2, 2}, sum(w)}};
  const std::string data =
      std::string(static_cast<const char*>(y.raw()), y.bytes()) + std::string(static_cast<const char*>(w.raw()), 16);
  CHECK(safetensors_beginning("x", planned, {{"about", "x"}}) + data == slurp(folder.path("once")));
  // With room left, as for a count that is not known yet.
  const std::string longer = folder.write("longer", safetensors_beginning("x", planned, {{"about", "x"}}, 4096) + data);
  CHECK(load_safetensors(longer).at("w").to_vector<float>() == w.to_vector<float>());
  // Halves, whose checksum is of the bytes in the file.
  const std::string halves{0, 0x3c, 0, 0x40};
  const std::string narrow =
      folder.write("half", safetensors_beginning("x", {{"h", "F16", {2}, xxh64(halves.data(), 4)}}, {}) + halves);
  CHECK(load_safetensors(narrow).at("h").to_vector<float>() == std::vector<float>{1, 2});
  CHECK(one_line_with(message(slurp(narrow).replace(slurp(narrow).size() - 1, 1, "A")), "\"h\"", "checksum"));
  CHECK(one_line_with(error_of([&] { safetensors_beginning("x", planned, {}, 40); }), "expected at most 32"));
  CHECK(one_line_with(error_of([&] { safetensors_beginning("x", {{"y", "I65", {2}, ""}}, {}); }), "\"y\"", "I65"));
}

TEST_CASE("safetensors: dtypes of the format that no tensor has are checked, listed and left alone") {
  const TensorFile file = load_safetensors("tests/fixtures/formats.safetensors");
  std::map<std::string, std::string> types;
  for (const SkippedTensor& skipped : file.skipped) {
    CHECK(skipped.shape == std::vector<int64_t>{3, 2});
    types[skipped.name] = skipped.dtype;
  }
  CHECK(types == std::map<std::string, std::string>{{"not read/bool", "BOOL"},
                                                    {"not read/int8", "I8"},
                                                    {"not read/int16", "I16"},
                                                    {"not read/uint16", "U16"},
                                                    {"not read/int32", "I32"},
                                                    {"not read/uint32", "U32"},
                                                    {"not read/uint64", "U64"},
                                                    {"not read/complex64", "C64"},
                                                    {"not read/float8_e5m2", "F8_E5M2"},
                                                    {"not read/float8_e4m3fn", "F8_E4M3"}});
  CHECK_FALSE(file.contains("not read/bool"));
  CHECK(one_line_with(error_of([&] { file.at("not read/bool"); }), "not read/bool", "BOOL", "not read"));

  CHECK(message("{" + entry("a", "F4", "[2,2]", "[0,2]") + "}", "12").empty());
  CHECK(one_line_with(message("{" + entry("a", "F6_E2M3", "[3]", "[0,2]") + "}", "12"), "whole bytes", "18 bits"));
  CHECK(one_line_with(message("{" + entry("a", "I32", "[2]", "[0,4]") + "}", "1234"), "expected 8 bytes"));
  CHECK(one_line_with(message("{" + entry("a", "I32", "[4611686018427387904]", "[0,4]") + "}", "1234"), "overflows"));
  CHECK(one_line_with(message("{" + entry("a", "BOOL", "[4]", "[1,5]") + "}", "12345"), "begins at byte 1"));
  CHECK(one_line_with(message("{" + entry("a", "BOOL", "[9]", "[0,9]") + "}", "1"), "got 1"));
}

TEST_CASE("safetensors: tensors are read by rows, behind the same check of the header") {
  const std::string path = "tests/fixtures/formats.safetensors";
  const TensorFile file = load_safetensors(path);
  const StoredTensors stored = open_safetensors(path);
  CHECK(stored.metadata == file.metadata);
  for (const char* name : {"f32", "bf16", "f16", "u8", "i64", "scalar"}) {
    CAPTURE(name);
    const StoredArray& array = stored.tensors.at(name);
    CHECK(array.shape() == file.at(name).shape());
    std::vector<float> x(static_cast<size_t>(array.shape().numel()));
    for (int64_t row = 0; row < array.rows(); ++row) array.read(row, row + 1, x.data() + row * array.row_size());
    const auto expected = file.at(name).to_vector<float>();
    for (size_t i = 0; i < x.size(); ++i) CHECK((x[i] == expected[i] || (std::isnan(x[i]) && std::isnan(expected[i]))));
  }
  CHECK(stored.tensors.at("f16").name() == path + ": \"f16\"");
  CHECK(stored.tensors.at("not read/int32").element() == Element::i32);
  CHECK_FALSE(stored.tensors.contains("not read/complex64"));
  const TemporaryFolder folder;
  const std::string whole = safetensors("{" + entry("a", "F32", "[2]", "[0,8]") + "}", "12345678");
  for (size_t length = 0; length < whole.size(); ++length) {
    const std::string cut = folder.write("x", whole.substr(0, length));
    CHECK(error_of([&] { open_safetensors(cut); }) == error_of([&] { load_safetensors(cut); }));
  }
}

TEST_CASE("safetensors: the time a header takes grows with its tensors, not with their square") {
  std::string header = "{";
  for (int i = 0; i < 100'000; ++i) header += entry("t" + std::to_string(i), "F32", "[0]", "[0,0]") + ",";
  header.back() = '}';
  const TemporaryFolder folder;
  const std::string path = folder.write("many", safetensors(header, ""));
  const auto start = std::chrono::steady_clock::now();
  CHECK(load_safetensors(path).tensors.size() == 100'000);
  // Takes half a second; looking at everything before at each object's end took minutes.
  CHECK(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < 20);
}

TEST_CASE("safetensors: what is saved comes back") {
  const TemporaryFolder folder;
  const std::string path = folder.path("x.safetensors");
  const std::vector<NamedTensor> tensors{
      {"bytes", Tensor::from<uint8_t>({1, 2, 3}, {3})}, {"b.weight", Tensor::from<float>({1, 2, 3, 4}, {2, 2})},
      {"labels", Tensor::from<int64_t>({-1, 5}, {2})},  {"half", Tensor::from<bf16>({bf16(0.5f)}, {1, 1, 1, 1, 1, 1})},
      {"none", Tensor::from<float>({}, {3, 0})},        {"a.weight", Tensor::from<float>({9}, {})},
      {"exact", Tensor::from<double>({0.1}, {1})}};
  const std::map<std::string, std::string> metadata{{"step", "12"}, {"", "ü\n\""}};
  save_safetensors(path, tensors, metadata);

  const TensorFile file = load_safetensors(path);
  CHECK(file.metadata == metadata);
  REQUIRE(file.tensors.size() == tensors.size());
  for (const auto& [name, tensor] : tensors) {
    CAPTURE(name);
    const Tensor& back = file.at(name);
    CHECK(back.dtype() == tensor.dtype());
    CHECK(back.shape() == tensor.shape());
    CHECK(back.to_vector<double>() == tensor.to_vector<double>());
  }
  // Bytes are mapped by some readers: the data starts at a multiple of 8, wider elements come first.
  uint64_t length = 0;
  std::memcpy(&length, slurp(path).data(), 8);
  CHECK(length % 8 == 0);
  size_t width = 8;
  for (const auto& [name, tensor] : file.tensors) {
    CHECK(size_of(tensor.dtype()) <= width);
    width = size_of(tensor.dtype());
  }
  CHECK(file.tensors[0].name == "labels");
  CHECK(file.tensors[1].name == "exact");
}

TEST_CASE("safetensors: no tensors, and saving twice, give the same bytes") {
  const TemporaryFolder folder;
  save_safetensors(folder.path("empty"), {});
  CHECK(load_safetensors(folder.path("empty")).tensors.empty());
  CHECK(slurp(folder.path("empty")) == safetensors("{}      ", ""));

  const std::vector<NamedTensor> one{{"x", Tensor::from<float>({1, 2}, {2})}};
  save_safetensors(folder.path("a"), one, {{"k", "v"}});
  save_safetensors(folder.path("b"), one, {{"k", "v"}});
  CHECK(slurp(folder.path("a")) == slurp(folder.path("b")));
}

TEST_CASE("safetensors: a view is saved as what it shows") {
  const TemporaryFolder folder;
  const Tensor x = Tensor::from<float>({1, 2, 3, 4, 5, 6}, {3, 2});
  save_safetensors(folder.path("v"), {{"rows", x.rows(1, 2)}});
  CHECK(load_safetensors(folder.path("v")).at("rows").to_vector<float>() == std::vector{3.0f, 4.0f});
}

TEST_CASE("safetensors: saving what cannot be saved is an error, and the old file stays") {
  const TemporaryFolder folder;
  const std::string path = folder.write("x", "old");
  const Tensor t = Tensor::from<float>({1}, {1});
  const auto saving = [&](const std::vector<NamedTensor>& tensors, std::map<std::string, std::string> metadata = {}) {
    return error_of([&] { save_safetensors(path, tensors, metadata); });
  };
  CHECK(one_line_with(saving({{"a", t}, {"a", t}}), path, "\"a\" is taken"));
  CHECK(one_line_with(saving({{"__metadata__", t}}), path, "is taken"));
  CHECK(one_line_with(saving({{"a", {}}}), path, "\"a\" is undefined"));
  CHECK(one_line_with(saving({{"\xff", t}}), path, "UTF-8"));
  CHECK(one_line_with(saving({}, {{"k", "\xff"}}), path, "UTF-8"));
  for (const char* key : {"xxh64", "xxh64.a"}) CHECK(one_line_with(saving({}, {{key, "x"}}), path, key, "checksum"));
  CHECK(slurp(path) == "old");
  CHECK(folder.count() == 1);
}

TEST_CASE("safetensors: an unknown name is answered with the nearest") {
  const TensorFile file{{{"layer1.weight", Tensor::from<float>({1}, {1})}}, {}};
  CHECK(file.contains("layer1.weight"));
  CHECK_FALSE(file.contains("layer1.weigth"));
  CHECK(one_line_with(error_of([&] { file.at("layer1.weigth"); }), "layer1.weigth", "nearest: layer1.weight"));
  CHECK(one_line_with(error_of([] { TensorFile{}.at("x"); }), "no tensor \"x\" among 0"));
}

TEST_CASE("safetensors: lengths that do not fit the file are errors, and nothing is allocated for them") {
  const std::string good = "{" + entry("a", "F32", "[2]", "[0,8]") + "}";
  CHECK(message(good, "12345678").empty());
  CHECK(one_line_with(message(good, "1234567"), "x.safetensors", "expected 8 bytes", "got 7"));
  CHECK(one_line_with(message(good, "123456789"), "expected 8 bytes", "got 9"));
  CHECK(one_line_with(message("{}", "x"), "expected 0 bytes", "got 1"));
  CHECK(one_line_with(message(safetensors(good, "12345678", ~uint64_t{0})), "header of 18446744073709551615"));
  CHECK(one_line_with(message(safetensors(good, "12345678", good.size() + 9)), "header of"));
  CHECK(
      one_line_with(message("{" + entry("a", "F32", "[4611686018427387904]", "[0,8]") + "}", "12345678"), "overflows"));
  CHECK(one_line_with(message("{" + entry("a", "F32", "[4294967296,4294967296]", "[0,0]") + "}", ""), "overflows"));
  CHECK(one_line_with(message("{" + entry("a", "F32", "[0,4294967296,4294967296]", "[0,0]") + "}", ""), "overflows"));
  CHECK(one_line_with(message("{" + entry("a", "U8", "[1000000000000]", "[0,1000000000000]") + "}", "1"), "got 1"));
  const std::string whole = safetensors(good, "12345678");
  for (size_t length = 0; length < whole.size(); ++length) {
    CAPTURE(length);
    CHECK(one_line_with(message(whole.substr(0, length)), "x.safetensors"));
  }
}

TEST_CASE("safetensors: byte ranges follow each other without gap or overlap") {
  const auto two = [](const std::string& a, const std::string& b) {
    return message("{" + entry("a", "U8", "[4]", a) + "," + entry("b", "U8", "[4]", b) + "}", "12345678");
  };
  CHECK(two("[0,4]", "[4,8]").empty());
  CHECK(two("[4,8]", "[0,4]").empty());
  CHECK(one_line_with(two("[0,4]", "[0,4]"), "begins at byte 0, expected 4"));
  CHECK(one_line_with(two("[0,4]", "[3,7]"), "begins at byte 3, expected 4"));
  CHECK(one_line_with(two("[0,4]", "[5,9]"), "begins at byte 5, expected 4"));
  CHECK(one_line_with(two("[1,5]", "[5,9]"), "begins at byte 1, expected 0"));
  CHECK(one_line_with(two("[4,0]", "[4,8]"), "data_offsets of \"a\""));
  CHECK(one_line_with(two("[0,5]", "[5,9]"), "expected 4 bytes"));
  CHECK(one_line_with(two("[0,4,4]", "[4,8]"), "two numbers"));
  CHECK(one_line_with(two("[-4,0]", "[0,4]"), "whole numbers"));
  CHECK(one_line_with(two("[0.0,4.0]", "[4,8]"), "whole numbers"));
}

TEST_CASE("safetensors: empty tensors stand anywhere") {
  const std::string header = "{" + entry("z", "F32", "[0]", "[0,0]") + "," + entry("a", "U8", "[1]", "[0,1]") + "," +
                             entry("m", "F64", "[2,0]", "[1,1]") + "}";
  CHECK(message(header, "1").empty());
}

TEST_CASE("safetensors: headers that are not the documented object are errors") {
  CHECK(one_line_with(message("[]", ""), "JSON object"));
  CHECK(one_line_with(message("", ""), "JSON object"));
  CHECK(one_line_with(message(" {}", ""), "JSON object"));
  CHECK(one_line_with(message("{", ""), "not valid JSON"));
  CHECK(one_line_with(message("{} {}", ""), "not valid JSON"));
  CHECK(one_line_with(message("{\"a\":\xff}", ""), "not valid JSON"));
  CHECK(one_line_with(message("{\"a\":1}", ""), "\"a\"", "expected an object"));
  CHECK(one_line_with(message("{\"a\":{\"dtype\":\"U8\"}}", ""), "expected an object of dtype"));
  const std::string good = entry("a", "U8", "[0]", "[0,0]");
  CHECK(one_line_with(message("{" + good + "," + good + "}", ""), "\"a\" stands twice"));
  CHECK(one_line_with(message("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", ""),
                      "\"dtype\" stands twice"));
  CHECK(one_line_with(message("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],\"more\":1}}", ""),
                      "expected an object of dtype"));
  CHECK(one_line_with(message("{" + entry("a", "F16X", "[1]", "[0,2]") + "}", "12"), "got F16X"));
  CHECK(one_line_with(message("{\"a\":{\"dtype\":5,\"shape\":[0],\"data_offsets\":[0,0]}}", ""), "expected a string"));
  CHECK(one_line_with(message("{" + entry("a", "U8", "0", "[0,0]") + "}", ""), "expected an array"));
  CHECK(one_line_with(message("{" + entry("a", "U8", "[\"1\"]", "[0,1]") + "}", "1"), "whole numbers"));
  CHECK(one_line_with(message("{" + entry("a", "U8", "[1,1,1,1,1,1,1]", "[0,1]") + "}", "1"), "at most 6 axes, got 7"));
  CHECK(one_line_with(message("{\"a\\nb\":1}", ""), "a?b"));
  CHECK(one_line_with(message("{" + entry("a", "\\n\\u001b", "[0]", "[0,0]") + "}", ""), "got ??"));
  CHECK(one_line_with(message("{\"__metadata__\":1}", ""), "__metadata__"));
  CHECK(one_line_with(message("{\"__metadata__\":{\"k\":1}}", ""), "\"k\"", "string"));
  CHECK(one_line_with(message("{\"a\":" + std::string(100'000, '['), ""), "nesting"));
}

TEST_CASE("safetensors: weights of another format are named, with the way to convert them") {
  const auto zip = [](const std::string& member) {  // the first bytes of a local file header, as torch and NumPy write
    std::string header = "PK\x03\x04" + std::string(22, '\0') + static_cast<char>(member.size()) + std::string(3, '\0');
    return header + member + std::string(64, 'Z');
  };
  CHECK(one_line_with(message(zip("model/data.pkl")), "x.safetensors", "torch.save", "torch.load(FILE"));
  CHECK(one_line_with(message(zip("model/data/0")), "torch.save"));  // TorchScript
  CHECK(one_line_with(message(zip("arr_0.npy")), "NumPy .npz", "numpy.load(FILE)"));
  CHECK(one_line_with(message(zip("README")), "got a zip archive"));
  CHECK(one_line_with(message("PK\x03\x04\x14\0\0\0\0"s), "got a zip archive"));  // and nothing more
  CHECK(one_line_with(message("\x80\x02\x8a\nl\xfc\x9c"
                              "F\xf9 j\xa8P\x19.\x80\x02M\xe9\x03"),
                      "older torch.save"));
  CHECK(one_line_with(message("\x80\x04\x95\x0a\0\0\0\0\0\0\0}\x94"s), "pickle"));
  CHECK(one_line_with(message("\x89HDF\r\n\x1a\n" + std::string(80, '\0')), "HDF5", "Keras"));
  CHECK(one_line_with(message("\x93NUMPY\1\0v\0"s), "NumPy"));
  CHECK(one_line_with(message("GGUF\3\0\0\0\0\0\0\0"s), "GGUF"));
  CHECK(one_line_with(message("\x1f\x8b\x08\0\0\0\0\0\0\3"s), "gunzip"));
  CHECK(one_line_with(message("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "git lfs pull"));
  CHECK(one_line_with(message("<!DOCTYPE html>"), "HTML"));
  CHECK(one_line_with(message("# ResNet-18\n\nWeights of \xc3\xbc.\n"), "got a text file"));
  CHECK(one_line_with(message("\xff\xd8\xff\xe0\0\x10JFIF\0"s), "got a JPEG image"));
  CHECK(one_line_with(message(std::string(257, 'x') + "ustar" + std::string(300, '\0')), "got a tar archive"));
  CHECK(one_line_with(message("{\"weight_map\": {}}"), "JSON"));
  CHECK(one_line_with(message("\xff\xff\xff\xff\xff\xff\xff\xff!"), "not a safetensors file"));
  // A header may be as long as the first letters of these are as a number.
  CHECK(one_line_with(message("<\0\0\0\0\0\0\0{}"s), "header of 60 bytes"));
}

TEST_CASE("safetensors: folders and missing files are errors") {
  const TemporaryFolder folder;
  CHECK(one_line_with(error_of([&] { load_safetensors(folder.path()); }), "Is a directory"));
  CHECK(one_line_with(error_of([&] { load_safetensors(folder.path("none")); }), "none", "No such file"));
  CHECK(one_line_with(error_of([] { load_safetensors("/dev/null"); }), "/dev/null", "regular file"));
}

}  // namespace
}  // namespace sked
