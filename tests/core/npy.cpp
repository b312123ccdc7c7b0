#include "core/npy.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <limits>

#include "tests/common/files.h"

namespace sked {
namespace {

using test::error_of;
using test::one_line_with;
using test::slurp;
using test::TemporaryFolder;

/// A file of format `major`.0 with this header dictionary and data.
std::string npy(const std::string& dictionary, const std::string& data, int major = 1) {
  std::string bytes = "\x93NUMPY";
  bytes += {static_cast<char>(major), '\0'};
  for (int i = 0; i < (major == 1 ? 2 : 4); ++i) bytes += static_cast<char>(dictionary.size() >> (8 * i));
  return bytes + dictionary + data;
}

std::string header(const std::string& descr, const std::string& shape, const std::string& order = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
}

template <class T>
void check_round_trip(const Tensor& tensor) {
  const TemporaryFolder folder;
  const std::string path = folder.path("x.npy");
  save_npy(path, tensor);
  const Tensor back = load_npy(path);
  CHECK(back.dtype() == tensor.dtype());
  CHECK(back.shape() == tensor.shape());
  CHECK(back.to_vector<T>() == tensor.to_vector<T>());
}

TEST_CASE("npy: every dtype and any number of axes come back") {
  check_round_trip<float>(Tensor::from<float>({1.5f, -2.0f, 3e38f, 1e-40f, 0.0f, -0.0f}, {2, 3}));
  check_round_trip<double>(Tensor::from<double>({1.0 / 3.0, -1e300}, {2}));
  check_round_trip<int64_t>(Tensor::from<int64_t>({std::numeric_limits<int64_t>::min(), 7}, {1, 2, 1}));
  check_round_trip<uint8_t>(Tensor::from<uint8_t>({0, 255}, {2, 1, 1, 1, 1, 1}));
  check_round_trip<float>(Tensor::from<float>({42.0f}, {}));
  check_round_trip<float>(Tensor::from<float>({}, {0, 5}));
}

TEST_CASE("npy: the file is the one NumPy writes") {
  const TemporaryFolder folder;
  const std::string path = folder.path("x.npy");
  // np.save(path, np.array([[1, 2, 3]], np.uint8))
  const std::string dictionary = "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 3), }";
  const std::string expected = npy(dictionary + std::string(117 - dictionary.size(), ' ') + "\n", "\x01\x02\x03");
  save_npy(path, Tensor::from<uint8_t>({1, 2, 3}, {1, 3}));
  CHECK(slurp(path) == expected);
  save_npy(path, Tensor::from<uint8_t>({1}, {1}));
  CHECK(slurp(path).find("'shape': (1,), }") != std::string::npos);
  save_npy(path, Tensor::from<uint8_t>({1}, {}));
  CHECK(slurp(path).find("'shape': (), }") != std::string::npos);
}

TEST_CASE("npy: rows are read by need") {
  const TemporaryFolder folder;
  const std::string path = folder.path("x.npy");
  save_npy(path, Tensor::from<int64_t>({1, 2, 3, 4, 5, 6}, {3, 2}));
  const NpyFile file(path);
  CHECK(file.dtype() == DType::i64);
  CHECK(file.shape() == Shape{3, 2});
  CHECK(file.rows(1, 3).to_vector<int64_t>() == std::vector<int64_t>{3, 4, 5, 6});
  CHECK(file.rows(2, 2).shape() == Shape{0, 2});
  CHECK(file.read().to_vector<int64_t>() == load_npy(path).to_vector<int64_t>());
  for (const auto& [begin, end] : {std::pair(-1, 1), {2, 1}, {0, 4}})
    CHECK(one_line_with(error_of([&] { file.rows(begin, end); }), path, "expected rows of (3, 2)"));
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  CHECK(file.rows(0, 2).to_vector<int64_t>() == std::vector<int64_t>{1, 2, 3, 4});
  CHECK(one_line_with(error_of([&] { file.rows(2, 3); }), path, "got shorter"));
  CHECK(one_line_with(error_of([&] { NpyFile again(path); }), path, "got 47"));
}

TEST_CASE("npy: numbers and strings of any width are read by rows") {
  const TemporaryFolder folder;
  const auto open = [&](const std::string& descr, const std::string& shape, const std::string& data) {
    return open_npy(folder.write("x.npy", npy(header(descr, shape), data)));
  };
  const auto numbers = [&](const std::string& descr, const std::string& data) {
    const StoredArray array = open(descr, "(2,)", data);
    std::vector<int64_t> whole(2);
    std::vector<float> wide(2);
    array.read(0, 2, whole.data());
    array.read(0, 2, wide.data());
    CHECK(wide[1] == static_cast<float>(whole[1]));
    CHECK(array.word(1) == std::to_string(whole[1]));
    return whole;
  };
  const std::string ones(16, '\xff');
  using Numbers = std::vector<int64_t>;
  CHECK(numbers("|i1", ones.substr(0, 2)) == Numbers{-1, -1});
  CHECK(numbers("|u1", ones.substr(0, 2)) == Numbers{255, 255});
  CHECK(numbers("<i2", ones.substr(0, 4)) == Numbers{-1, -1});
  CHECK(numbers("<u2", ones.substr(0, 4)) == Numbers{65535, 65535});
  CHECK(numbers("<i4", ones.substr(0, 8)) == Numbers{-1, -1});
  CHECK(numbers("<u4", ones.substr(0, 8)) == Numbers{4294967295, 4294967295});
  CHECK(numbers("<i8", ones) == Numbers{-1, -1});
  CHECK(one_line_with(error_of([&] { numbers("<u8", ones); }), "x.npy: 18446744073709551615 is no i64"));
  const StoredArray flags = open("|b1", "(2, 1)", std::string("\0\1", 2));
  float flag = 0;
  flags.read(1, 2, &flag);
  CHECK(flag == 1);
  CHECK_FALSE(flags.holds_words());

  const StoredArray halves = open("<f2", "(2, 2)", std::string("\x00\x3c\x00\xc0\x01\x00\x00\x7c", 8));
  std::vector<float> x(4);
  halves.read(0, 2, x.data());
  CHECK(x == std::vector{1.0f, -2.0f, 0x1p-24f, std::numeric_limits<float>::infinity()});
  std::vector<int64_t> whole(2);
  CHECK(one_line_with(error_of([&] { halves.read(0, 1, whole.data()); }), "expected whole numbers, got f16"));
  CHECK(one_line_with(error_of([&] { halves.read(1, 3, x.data()); }), "x.npy: expected rows in 0 to 2, got 1 to 3"));
  CHECK(one_line_with(error_of([&] { halves.word(0); }), "(2, 2) f16"));

  const auto points = [](std::u32string text) {
    return std::string(reinterpret_cast<char*>(text.data()), 4 * text.size());
  };
  const StoredArray words = open("<U2", "(3,)", points({U'\u00e9', U'\U0001f600', 'b', 0, 0xD800, 0x110000}));
  CHECK(words.word(0) == "\u00e9\U0001f600");
  CHECK(words.word(1) == "b");
  CHECK(words.word(2) == "\ufffd\ufffd");
  CHECK(one_line_with(error_of([&] { words.read(0, 1, x.data()); }), "expected numbers, got text"));
  CHECK(open("|S3", "(2,)", std::string("ab\0\xff-c", 6)).word(1) == "\\xFF-c");
  for (const char* descr : {">f4", "<U0", "<U-1", "<U99999999999999999999", "<U4097", "|S5x", "|O", "<c8", "<M8"})
    CHECK(one_line_with(error_of([&] { open(descr, "(1,)", "12345678"); }), "x.npy: expected dtype <f2", descr));
  CHECK(one_line_with(error_of([&] { open("<f2", "(2,)", "123"); }), "expected 4 bytes", "got 3"));
  CHECK(one_line_with(error_of([&] { open("<U4", "(9223372036854775807,)", "123"); }), "overflows"));
}

TEST_CASE("npy: rows that are kept in memory outlive their file, others do not") {
  const TemporaryFolder folder;
  const std::string path = folder.write("x.npy", npy(header("<i2", "(2,)"), "abcd"));
  StoredArray kept = open_npy(path);
  const StoredArray left = kept;
  kept.keep();
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  std::vector<int64_t> both(2);
  kept.read(0, 2, both.data());
  CHECK(both == std::vector<int64_t>{0x6261, 0x6463});
  CHECK(one_line_with(error_of([&] { left.read(1, 2, both.data()); }), "x.npy: the file got shorter"));
}

TEST_CASE("npy: all three header versions and any layout of the dictionary") {
  const TemporaryFolder folder;
  for (int major = 1; major <= 3; ++major) {
    const Tensor x = load_npy(folder.write("x.npy", npy(header("<i8", "(2,)"), std::string(16, '\1'), major)));
    CHECK(x.shape() == Shape{2});
    CHECK(x.to_vector<int64_t>()[1] == 0x0101010101010101);
  }
  const std::string other = "{\"shape\":( 1,2 ,),\"fortran_order\":False,\"descr\":\"|u1\"}";
  CHECK(load_npy(folder.write("x.npy", npy(other, "ab"))).shape() == Shape{1, 2});
}

TEST_CASE("npy: what is not supported is said") {
  const TemporaryFolder folder;
  const auto message = [&](const std::string& bytes) {
    return error_of([&] { load_npy(folder.write("x.npy", bytes)); });
  };
  for (const std::string descr : {">f4", "<f2", "<i4", "|b1", "<c16", "|S5", ""}) {
    CAPTURE(descr);
    CHECK(one_line_with(message(npy(header(descr, "(1,)"), "12345678")), "x.npy", "dtype"));
  }
  CHECK(one_line_with(message(npy(header("<f4", "(1, 1)", "True"), "1234")), "x.npy", "Fortran"));
  CHECK(one_line_with(message(npy(header("|u1", "(1,1,1,1,1,1,1)"), "1")), "x.npy", "at most 6 axes"));
  CHECK(one_line_with(message(npy(header("|u1", "(1,)"), "1", 4)), "x.npy", "4.0"));
  CHECK(one_line_with(error_of([&] { save_npy(folder.path("y.npy"), Tensor::zeros({1}, DType::bf16)); }), "bf16"));
  CHECK(one_line_with(error_of([&] { save_npy(folder.path("y.npy"), {}); }), "y.npy"));
}

TEST_CASE("npy: lying and broken headers are errors, and nothing is allocated for them") {
  const TemporaryFolder folder;
  const auto message = [&](const std::string& bytes) {
    return error_of([&] { load_npy(folder.write("x.npy", bytes)); });
  };
  CHECK(one_line_with(message(npy(header("<f4", "(2,)"), "1234567")), "expected 8 bytes", "got 7"));
  CHECK(one_line_with(message(npy(header("<f4", "(2,)"), "123456789")), "expected 8 bytes", "got 9"));
  CHECK(one_line_with(message(npy(header("<f4", "(1000000000000,)"), "1234")), "4000000000000", "got 4"));
  CHECK(one_line_with(message(npy(header("<f4", "(4294967296, 4294967296)"), "")), "overflows"));
  CHECK(one_line_with(message(npy(header("<f4", "(0, 4294967296, 4294967296)"), "")), "overflows"));
  CHECK(one_line_with(message(npy(header("<f4", "(99999999999999999999999,)"), "")), "number"));
  CHECK(one_line_with(message(npy(header("<f4", "(-1,)"), "")), "number"));
  CHECK(one_line_with(message(npy(header("<f4", "(1)"), "1234")), "tuple"));
  CHECK(one_line_with(message(npy(header("<f4", "(1,"), "1234")), "x.npy"));
  for (const std::string dictionary :
       {"", "{", "{}", "[1]", "{'descr': '<f4'}", "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4", "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} {}"}) {
    CAPTURE(dictionary);
    CHECK(one_line_with(message(npy(dictionary, "1234")), "x.npy"));
  }
  std::string huge_header = npy("", "", 2);
  huge_header.replace(8, 4, "\xff\xff\xff\xff");
  CHECK(one_line_with(message(huge_header), "header of 4294967295 bytes"));
  const std::string whole = npy(header("<f4", "(1,)"), "1234");
  for (size_t length = 0; length < whole.size(); ++length) {
    CAPTURE(length);
    CHECK(one_line_with(message(whole.substr(0, length)), "x.npy"));
  }
  CHECK(one_line_with(message("PK\x03\x04 an .npz file"), "not a .npy file"));
  CHECK(one_line_with(error_of([&] { load_npy(folder.path()); }), "Is a directory"));
  CHECK(one_line_with(error_of([&] { load_npy(folder.path("none.npy")); }), "none.npy", "No such file"));
  const std::string pipe = folder.path("pipe.npy");
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(one_line_with(error_of([&] { open_npy(pipe); }), "pipe.npy", "expected a regular file"));
}

}  // namespace
}  // namespace sked
