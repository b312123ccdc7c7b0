// .npz files made here byte by byte: whole ones, and what is wrong with others. Real ones: tests/apps/flax.cpp.

#include "core/npz.h"

#include <doctest/doctest.h>

#include "core/file_kind.h"
#include "tests/common/bytes.h"
#include "tests/common/files.h"

namespace sked {
namespace {

using test::crc32;
using test::error_of;
using test::little_endian;
using test::one_line_with;
using test::TemporaryFolder;
using namespace std::string_literals;

std::string npy(const std::string& descr, const std::string& shape, const std::string& data) {
  const std::string dictionary = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }\n";
  return "\x93NUMPY\x01\x00"s + static_cast<char>(dictionary.size()) + '\0' + dictionary + data;
}

/// A member, of which the directory may say something else.
struct Entry {
  std::string name, contents;
  uint16_t method = 0, flags = 0;
  uint64_t claimed = 0;  // bytes, where not 0
  uint32_t crc_change = 0;
  bool zip64 = false;
};

/// PKWARE's APPNOTE 4.3.7, 4.3.12, 4.3.16; sizes in zip64's extra field as Python writes it: in front of members alone.
std::string zip(const std::vector<Entry>& entries) {
  std::string members, directory;
  for (const Entry& e : entries) {
    std::string packed = e.contents;
    if (e.method == 8)  // deflate: one block, stored
      packed = "\x01" + little_endian(packed.size(), 2) + little_endian(~packed.size(), 2) + packed;
    const uint64_t size = e.claimed > 0 ? e.claimed : e.contents.size();
    const std::string sum = little_endian(crc32(e.contents) ^ e.crc_change, 4);
    const auto common = [&](bool wide) {
      return little_endian(20, 2) + little_endian(e.flags, 2) + little_endian(e.method, 2) + little_endian(0, 4) + sum +
             (wide ? little_endian(~uint64_t{0}, 8) : little_endian(packed.size(), 4) + little_endian(size, 4)) +
             little_endian(e.name.size(), 2);
    };
    const std::string extra =
        e.zip64 ? little_endian(1, 2) + little_endian(16, 2) + little_endian(size, 8) + little_endian(packed.size(), 8)
                : std::string();
    // behind the name's length: those of extra and comment, disk, attributes (2 and 4), where the member begins
    directory += "PK\x01\x02" + little_endian(20, 2) + common(false) + little_endian(0, 12) +
                 little_endian(members.size(), 4) + e.name;
    members += "PK\x03\x04" + common(e.zip64) + little_endian(extra.size(), 2) + e.name + extra + packed;
  }
  const std::string count = little_endian(entries.size(), 2);
  return members + directory + "PK\x05\x06" + little_endian(0, 4) + count + count + little_endian(directory.size(), 4) +
         little_endian(members.size(), 4) + little_endian(0, 2);
}

const std::string kOnes = "\0\0\x80\x3f\0\0\x80\x3f"s;
Entry ones(const std::string& name) { return {.name = name, .contents = npy("<f4", "(2,)", kOnes)}; }

bool built_without_libzip() {
  const TemporaryFolder folder;
  const std::string path = folder.write("x.npz", zip({ones("a.npy")}));
  const std::string message = error_of([&] { load_npz(path); });
  if (message.find("built without libzip") == std::string::npos) return false;
  CHECK(one_line_with(message, "x.npz", "install libzip-dev"));
  test::skip("built without libzip");
  return true;
}

TEST_CASE("npz: arrays by their names, stored and deflated, zip64 or not") {
  if (built_without_libzip()) return;
  const TemporaryFolder folder;
  Entry deflated = ones("b/c.npy"), wide = ones("opt/target/d.npy");
  deflated.method = 8;
  wide.zip64 = true;
  const std::string bytes = zip({ones("a.npy"),
                                 deflated,
                                 wide,
                                 {.name = "half.npy", .contents = npy("<V2", "(2, 1)", "\x80\x3f\x00\x40"s)},
                                 {.name = "step.npy", .contents = npy("<i4", "()", "abcd")},
                                 {.name = "empty.npy", .contents = npy("<f4", "(0, 3)", "")}});
  CHECK(is_npz(bytes));
  const TensorFile file = load_npz(folder.write("x.npz", bytes));
  REQUIRE(file.tensors.size() == 5);
  for (const char* name : {"a", "b/c", "opt/target/d"}) {
    INFO(name);
    CHECK(file.at(name).to_vector<float>() == std::vector<float>{1, 1});
  }
  CHECK(file.at("half").dtype() == DType::bf16);
  CHECK(file.at("half").shape() == Shape{2, 1});
  CHECK(file.at("half").to(DType::f32).to_vector<float>() == std::vector<float>{1, 2});
  CHECK(file.at("empty").shape() == Shape{0, 3});
  REQUIRE(file.skipped.size() == 1);
  CHECK(file.skipped[0].name == "step");
  CHECK(file.skipped[0].dtype == "<i4");
  CHECK(load_npz(folder.write("none.npz", zip({}))).tensors.empty());
}

TEST_CASE("npz: what is written is read again, and is the same bytes each time") {
  const TemporaryFolder folder;
  const std::vector<NamedTensor> tensors{{"a", Tensor::from<float>({1, 2, 3, 4, 5, 6}, {2, 3})},
                                         {"deep/b", Tensor::from<int64_t>({-1, 1}, {2})},
                                         {"c", Tensor::from<uint8_t>({7}, {1})},
                                         {"d", Tensor::from<double>({0.1}, {})},
                                         {"none", Tensor::empty({0, 3})}};
  const auto save = [&](const std::vector<NamedTensor>& some) {
    return error_of([&] { save_npz(folder.path("x.npz"), some); });
  };
  if (built_without_libzip()) {
    CHECK(one_line_with(save(tensors), "x.npz", "install libzip-dev"));
    return;
  }
  REQUIRE(save(tensors).empty());
  const std::string bytes = test::slurp(folder.path("x.npz"));
  REQUIRE(save(tensors).empty());
  CHECK(test::slurp(folder.path("x.npz")) == bytes);
  const TensorFile file = load_npz(folder.path("x.npz"));
  REQUIRE(file.tensors.size() == tensors.size());
  for (const auto& [name, tensor] : tensors) {
    INFO(name);
    CHECK(file.at(name).dtype() == tensor.dtype());
    CHECK(file.at(name).shape() == tensor.shape());
    CHECK(file.at(name).to_vector<double>() == tensor.to_vector<double>());
  }
  CHECK(one_line_with(save({tensors[0], tensors[0]}), "x.npz", "a.npy"));
  CHECK(one_line_with(save({{"../a", tensors[0].tensor}}), "x.npz", "../a"));
  CHECK(one_line_with(save({{"half", Tensor::zeros({1}, DType::bf16)}}), "x.npz", "half", "bf16"));
  CHECK(test::slurp(folder.path("x.npz")) == bytes);
  CHECK(folder.count() == 1);
}

TEST_CASE("npz: what is refused, in one line with the file and the array") {
  if (built_without_libzip()) return;
  const TemporaryFolder folder;
  const auto message = [&](const std::string& bytes) {
    return error_of([&] { load_npz(folder.write("x.npz", bytes)); });
  };
  const auto of = [&](const Entry& entry) { return message(zip({ones("first.npy"), entry})); };
  const auto changed = [](const auto& change) {
    Entry entry = ones("w.npy");
    change(entry);
    return entry;
  };
  CHECK(one_line_with(of(ones("first.npy")), "x.npz", "two arrays of one name"));
  CHECK(one_line_with(of(ones("../w.npy")), "x.npz", "../w.npy"));
  CHECK(one_line_with(of(ones("/etc/w.npy")), "x.npz", "expected arrays"));
  CHECK(one_line_with(of({.name = "archive/data.pkl", .contents = "x"}), "expected arrays", "data.pkl"));
  CHECK(one_line_with(of({.name = "folder/", .contents = ""}), "expected arrays", "folder/"));
  CHECK(one_line_with(of(changed([](Entry& e) { e.flags = 1; })), "w.npy is encrypted"));
  CHECK(one_line_with(of(changed([](Entry& e) { e.method = 12; })), "w.npy", "stored or deflated", "12"));
  CHECK(one_line_with(of(changed([](Entry& e) { e.crc_change = 1; })), "x.npz: w is damaged", "CRC"));
  CHECK(one_line_with(of({.name = "w.npy", .contents = "no array"}), "x.npz: w", "not a .npy file"));
  for (const char* descr : {"<f2", ">f4", "<c8", "|V8", ""})
    CHECK(one_line_with(of({.name = "w.npy", .contents = npy(descr, "(1,)", "12345678")}), "x.npz: w", "dtype"));
  CHECK(
      one_line_with(of({.name = "w.npy", .contents = npy("<f4", "(3,)", kOnes)}), "x.npz: w", "expected 12", "got 8"));
  CHECK(one_line_with(of({.name = "w.npy", .contents = npy("<f4", "(4294967296, 4294967296)", kOnes)}), "overflows"));

  // What the directory says is more than there is: too much for the file, or only for the member.
  Entry bomb{.name = "w.npy", .contents = npy("<f4", "(1000000000,)", kOnes), .method = 8};
  bomb.claimed = bomb.contents.size() - 8 + 4'000'000'000;
  CHECK(one_line_with(of(bomb), "x.npz", "too many for a file of"));
  Entry longer{.name = "w.npy", .contents = npy("<f4", "(1000000,)", kOnes), .method = 8};
  longer.claimed = longer.contents.size() - 8 + 4'000'000;
  CHECK(one_line_with(of(longer), "x.npz: w"));
  Entry shorter = ones("w.npy");
  shorter.contents += "more";
  shorter.method = 8;
  shorter.claimed = shorter.contents.size() - 4;
  CHECK(one_line_with(of(shorter), "x.npz: w", "damaged"));
}

TEST_CASE("npz: cut short or changed anywhere it is refused or whole") {
  if (built_without_libzip()) return;
  const TemporaryFolder folder;
  const std::string whole = zip({ones("a.npy"), ones("b.npy")});
  REQUIRE(load_npz(folder.write("x.npz", whole)).tensors.size() == 2);
  for (size_t length = 0; length < whole.size(); ++length) {
    CAPTURE(length);
    CHECK(one_line_with(error_of([&] { load_npz(folder.write("x.npz", whole.substr(0, length))); }), "x.npz"));
  }
  for (size_t i = 0; i < whole.size(); ++i) {
    CAPTURE(i);
    std::string other = whole;
    other[i] = static_cast<char>(other[i] ^ 0x55);
    try {
      for (const NamedTensor& t : load_npz(folder.write("x.npz", other)).tensors)
        CHECK(t.tensor.to_vector<float>() == std::vector<float>{1, 1});
    } catch (const Error& error) {
      CHECK(one_line_with(error.what(), "x.npz"));
    }
  }
  CHECK(one_line_with(error_of([&] { load_npz(folder.path("none.npz")); }), "none.npz"));
  CHECK(one_line_with(error_of([&] { load_npz(folder.path()); }), folder.path()));
}

}  // namespace
}  // namespace sked
