// Vocabularies trained, read and run; model files that lie.
#include "data/tokenizer.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <bit>
#include <cmath>

#include "tests/common/files.h"
#include "tests/common/library_json.h"

namespace sked {
namespace {

using test::error_of;
using test::one_line_with;
using test::TemporaryFolder;

constexpr const char* kModel = "tests/fixtures/tokenizer.model";

bool without_sentencepiece() {
  if (!can_tokenize()) test::skip("built without SentencePiece");
  return !can_tokenize();
}

const test::LibraryJson& fixture() {
  static const auto json = test::library_json(test::slurp("tests/fixtures/tokenizer.json"));
  return json;
}

/// What f writes to stderr, by whatever means.
template <class F>
std::string stderr_of(F&& f) {
  const TemporaryFolder folder;
  const int saved = ::dup(2), file = ::open(folder.path("stderr").c_str(), O_WRONLY | O_CREAT, 0600);
  REQUIRE(::dup2(file, 2) == 2);
  f();
  ::dup2(saved, 2);
  ::close(saved);
  ::close(file);
  return test::slurp(folder.path("stderr"));
}

const std::vector<std::string> kCaptions{"a photo of a cat.", "a photo of a dog.", "a Photo of the Égyptian cat",
                                         "a blurry photo of a dog on a sofa", "ｗｉｄｅ dogs"};

std::vector<std::string> template_captions() {
  std::vector<std::string> captions;
  for (const std::string kind :
       {"a photo of a ", "a blurry photo of the ", "a black and white photo of a ", "the big "}) {
    for (const std::string name : {"cat", "dog", "parking meter", "T-shirt"}) captions.push_back(kind + name + ".");
  }
  return captions;
}

TEST_CASE("captions: what is no text is refused, with the byte") {
  CHECK(error_of([] { check_caption("a ﬁne caption, 1️⃣ 猫", "here"); }).empty());
  const auto refused = [](std::string_view caption) { return error_of([&] { check_caption(caption, "t.tsv:3"); }); };
  CHECK(one_line_with(refused(""), "[caption] t.tsv:3: expected text, got none"));
  CHECK(one_line_with(refused(" \t\r\n\v"), "t.tsv:3", "only white space"));
  CHECK(one_line_with(refused("\u00a0\u3000\u2003\u1680\u2028\u0085"), "only white space"));
  CHECK(one_line_with(refused("caf\xE9"), "not UTF-8 at byte 3"));
  CHECK(one_line_with(refused("ab\xED\xA0\x80"), "not UTF-8 at byte 2"));
  CHECK(one_line_with(refused(std::string_view("a\0b", 3)), "NUL at byte 1"));
  std::string words;
  while (words.size() < 65536) words += std::string(8191, 'a') + " ";
  CHECK(words.size() == 65536);
  CHECK(refused(words).empty());
  CHECK(one_line_with(refused(words + "a"), "65537 bytes, expected at most 65536"));
  CHECK(refused("a " + std::string(8192, 'b')).empty());
  CHECK(one_line_with(refused("a " + std::string(8193, 'b')), "a word of more than 8192 bytes from byte 2"));
}

TEST_CASE("tokenizer: the ids of an independent segmentation") {
  if (without_sentencepiece()) return;
  const Tokenizer tokenizer = Tokenizer::load(kModel);
  CHECK(tokenizer.vocabulary() == fixture()["vocabulary"].get<int64_t>());
  for (const auto& caption : fixture()["captions"]) {
    const auto text = caption["text"].get<std::string>();
    CAPTURE(text);
    const auto ids = caption["ids"].get<std::vector<int64_t>>();
    const TokenBatch batch = tokenizer.encode({text}, 64, false);
    const auto got = batch.ids.to_vector<int64_t>();
    const auto count = static_cast<int64_t>(ids.size());
    REQUIRE(batch.ends.to_vector<int64_t>() == std::vector<int64_t>{count + 1});
    CHECK(got[0] == 2);
    CHECK(std::vector<int64_t>(got.begin() + 1, got.begin() + 1 + count) == ids);
    CHECK(got[ids.size() + 1] == 3);
    CHECK(std::vector<int64_t>(got.begin() + count + 2, got.end()) ==
          std::vector<int64_t>(static_cast<size_t>(62 - count), 0));
    CHECK(tokenizer.decode(got) == caption["decoded"].get<std::string>());
  }
}

TEST_CASE("tokenizer: a vocabulary trained twice is the same, saved and read again too") {
  if (without_sentencepiece()) return;
  const TemporaryFolder folder;
  const Tokenizer first = Tokenizer::train(kCaptions, 60), second = Tokenizer::train(kCaptions, 60);
  first.save(folder.path("a.model"));
  second.save(folder.path("b.model"));
  CHECK(folder.count() == 2);
  CHECK(test::slurp(folder.path("a.model")) == test::slurp(folder.path("b.model")));
  CHECK(first.fingerprint() == second.fingerprint());
  CHECK(first.fingerprint().size() == 16);
  const Tokenizer read = Tokenizer::load(folder.path("a.model"));
  CHECK(read.fingerprint() == first.fingerprint());
  CHECK(read.vocabulary() == first.vocabulary());
  CHECK(read.encode(kCaptions, 40, false).ids.to_vector<int64_t>() ==
        first.encode(kCaptions, 40, false).ids.to_vector<int64_t>());
  CHECK(Tokenizer::train({kCaptions[0]}, 60).fingerprint() != first.fingerprint());
  CHECK(Tokenizer::load(kModel).fingerprint() != first.fingerprint());
  CHECK(one_line_with(error_of([&] { first.save(folder.path("none/x.model")); }), "none/x.model"));
}

TEST_CASE("tokenizer: what is decoded is the caption as nmt_nfkc_cf normalizes it") {
  if (without_sentencepiece()) return;
  const Tokenizer tokenizer = Tokenizer::train(kCaptions, 60);
  const auto again = [&](const std::string& caption) {
    return tokenizer.decode(tokenizer.encode({caption}, 80, false).ids.to_vector<int64_t>());
  };
  CHECK(again("a photo of a cat.") == "a photo of a cat.");
  CHECK(again("  A PHOTO\tof\u00a0 a   cAT. ") == "a photo of a cat.");
  CHECK(again("E\u0301gyptian DOGS") == "égyptian dogs");
  CHECK(again("ＤＯＧ") == "dog");
  CHECK(again("a zebra") != "a zebra");  // z is no character of the captions
  CHECK(
      one_line_with(error_of([&] { tokenizer.decode(std::vector<int64_t>{tokenizer.vocabulary()}); }), "expected ids"));
  CHECK(one_line_with(error_of([&] { tokenizer.decode(std::vector<int64_t>{-1}); }), "got -1"));
}

TEST_CASE("tokenizer: the words of templates become pieces") {
  if (without_sentencepiece()) return;
  const std::vector<std::string> captions = template_captions();
  const Tokenizer tokenizer = Tokenizer::train(captions, 200);
  const auto pieces = [&](const std::string& caption) {
    return tokenizer.encode({caption}, 64, false).ends.to_vector<int64_t>()[0] - 1;
  };
  CHECK(pieces("a black and white photo of a parking meter.") == 10);
  CHECK(pieces("the Cat") == 2);
  CHECK(pieces("a T-shirt") == 4);
}

TEST_CASE("tokenizer: batches are padded to the context; longer captions are refused or cut") {
  if (without_sentencepiece()) return;
  const Tokenizer tokenizer = Tokenizer::train({"abcdefgh"}, 5 + 8);  // a piece per character: ▁ and 8 letters
  REQUIRE(tokenizer.vocabulary() == 13);
  const TokenBatch batch = tokenizer.encode({"abc", "hgfedcba"}, 11, false);
  CHECK(batch.ids.shape() == Shape{2, 11});
  CHECK(batch.ends.to_vector<int64_t>() == std::vector<int64_t>{5, 10});
  const auto ids = batch.ids.to_vector<int64_t>();
  CHECK(std::vector<int64_t>(ids.begin() + 5, ids.begin() + 11) == std::vector<int64_t>{3, 0, 0, 0, 0, 0});
  CHECK(ids[21] == 3);
  CHECK(tokenizer.encode({}, 11, false).ids.shape() == Shape{0, 11});

  const auto encoding = [&](const std::string& caption, int64_t context) {
    return error_of([&] { tokenizer.encode({"abc", caption}, context, false); });
  };
  CHECK(one_line_with(encoding("hgfedcba", 10), "caption 1 \"hgfedcba\" has 9 pieces, expected at most 8",
                      "context of 10"));
  CHECK(one_line_with(encoding(std::string(5000, 'a'), 64), "has 5001 pieces, expected at most 62"));
  CHECK(one_line_with(encoding("a", 2), "context in 3", "got 2"));
  CHECK(one_line_with(encoding("a\xFF", 10), "caption 1: not UTF-8 at byte 1"));
  CHECK(one_line_with(encoding(" ", 10), "caption 1", "only white space"));
  const TokenBatch cut = tokenizer.encode({"abc", "hgfedcba"}, 10, true);
  CHECK(cut.ends.to_vector<int64_t>() == std::vector<int64_t>{5, 9});
  CHECK(tokenizer.decode(cut.ids.rows(1, 2).to_vector<int64_t>()) == "hgfedcb");
  CHECK(cut.ids.to_vector<int64_t>().back() == 3);
}

TEST_CASE("tokenizer: sizes, and captions that make no vocabulary") {
  if (without_sentencepiece()) return;
  const std::vector<std::string> captions = template_captions();
  const int64_t few = Tokenizer::train(captions, 32).vocabulary(),
                most = Tokenizer::train(captions, 10000).vocabulary();
  CHECK(few <= 32);
  CHECK(few < most);
  CHECK(most < 200);                                      // so few captions support no more
  CHECK(Tokenizer::train({"x"}, 100).vocabulary() == 7);  // markers, ▁, x, ▁x
  const auto training = [](const std::vector<std::string>& captions, int64_t pieces) {
    return error_of([&] { Tokenizer::train(captions, pieces); });
  };
  CHECK(one_line_with(training(kCaptions, 10), "a vocabulary of 10 pieces", "smaller than required_chars"));
  CHECK(one_line_with(training(kCaptions, 4), "5 to 1048576 pieces, got 4"));
  CHECK(one_line_with(training(kCaptions, int64_t{1} << 21), "pieces, got 2097152"));
  CHECK(one_line_with(training({"a", ""}, 100), "caption 1: expected text"));
  CHECK(one_line_with(training({"a", "\xC0"}, 100), "caption 1: not UTF-8 at byte 0"));
  CHECK(one_line_with(training({}, 100), "nothing is left of 0 captions"));
  // zero width, SentencePiece's own signs: here the library would end the process, or leave the caption out
  for (const char* nothing : {"\u200b", "\u2581", "\u2585", "\u200b \u2581"})
    CHECK(one_line_with(training({nothing, "\u2585"}, 100), "nothing is left of 2 captions"));
  CHECK(training({"\u200b", "a", "\u2585"}, 100).empty());
  for (const char* odd : {"<s>", "\u0301", "\U0001f600", "\U0010ffff", "1 2", "\ufdfd", "\xE2\x80\xAE abc"}) {
    CAPTURE(odd);
    CHECK(training({odd}, 100).empty());
  }
  CHECK(Tokenizer::train({std::string(5000, 'a') + "b"}, 100).vocabulary() > 7);  // not left out for its length
}

TEST_CASE("tokenizer: the library is silent") {
  if (without_sentencepiece()) return;
  const TemporaryFolder folder;
  const auto silent = [](auto&& f) { CHECK(stderr_of([&] { error_of(f); }).empty()); };
  silent([] { Tokenizer::train(kCaptions, 60); });
  silent([] { Tokenizer::train(kCaptions, 10); });
  silent([&] { Tokenizer::load(folder.write("x.model", "garbage")); });
  silent([] { Tokenizer::load(kModel); });
}

// ---- model files that lie: messages of sentencepiece_model.proto by hand -------------------------

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}
std::string number(int field, uint64_t value) { return varint(static_cast<uint64_t>(field) << 3) + varint(value); }
std::string block(int field, const std::string& content) {
  return varint(static_cast<uint64_t>(field) << 3 | 2) + varint(content.size()) + content;
}
std::string word(uint32_t value) { return {reinterpret_cast<const char*>(&value), 4}; }
std::string piece(const std::string& text, float score, uint64_t type) {
  return block(1, block(1, text) + varint(2 << 3 | 5) + word(std::bit_cast<uint32_t>(score)) + number(3, type));
}
const std::string kMarkers = piece("<pad>", 0, 3) + piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3);
const std::string kPieces = kMarkers + piece("\u2581", -1, 1) + piece("a", -2, 1);
const std::string kTrainer = block(2, number(3, 1));
std::string normalizer(const std::string& rules) { return block(3, block(2, rules)); }
std::string rules(const std::vector<uint32_t>& units, const std::string& texts) {
  std::string bytes = word(static_cast<uint32_t>(units.size() * 4));
  for (const uint32_t unit : units) bytes += word(unit);
  return bytes + texts;
}
/// A trie of one block with a rule for `a`, whose unit is `unit` and whose text begins at `value`.
std::string rule_for_a(uint32_t unit, uint32_t value, const std::string& texts) {
  std::vector<uint32_t> units(256, 0x80000000u);
  units[0] = 0;
  units['a'] = unit;
  units[1] = 0x80000000u | value;
  return rules(units, texts);
}
/// `a`, a text ends here, its value at 'a' ^ offset = 1.
constexpr uint32_t kEndsAtOne = uint32_t{'a' ^ 1} << 10 | 0x100u | 'a';

TEST_CASE("tokenizer: a model written by hand is read") {
  if (without_sentencepiece()) return;
  const TemporaryFolder folder;
  const auto decoded = [&](const std::string& model) {
    const Tokenizer tokenizer = Tokenizer::load(folder.write("x.model", model));
    return tokenizer.decode(tokenizer.encode({"aab"}, 20, false).ids.to_vector<int64_t>());
  };
  CHECK(decoded(kPieces + kTrainer + normalizer("")) == "aa ⁇ ");
  const std::string b = piece("b", -3, 1);
  CHECK(decoded(kPieces + b + kTrainer + normalizer(rule_for_a(kEndsAtOne, 2, std::string("x\0b\0", 4)))) == "bbb");
}

TEST_CASE("tokenizer: what is not a model, or a dangerous one, is refused with the file's name") {
  if (without_sentencepiece()) return;
  const TemporaryFolder folder;
  const auto loading = [&](const std::string& model) {
    return error_of([&] { Tokenizer::load(folder.write("x.model", model)); });
  };
  const std::string rest = kTrainer + normalizer("");
  REQUIRE(loading(kPieces + rest).empty());
  CHECK(one_line_with(loading(""), "x.model", "got 0 pieces"));
  CHECK(one_line_with(loading("\xFF\xFF\xFFgarbage"), "x.model", "not a SentencePiece model"));
  CHECK(one_line_with(loading("<html>not found</html>"), "x.model", "not a SentencePiece model"));
  CHECK(one_line_with(loading(kPieces), "x.model", "got 6 pieces"));
  CHECK(one_line_with(loading(kPieces + kTrainer), "got 6 pieces, a trainer"));
  CHECK(one_line_with(loading(block(1, std::string(5, '\xFF')) + rest), "not a SentencePiece model"));
  CHECK(one_line_with(loading(number(1, 5) + rest), "field of the wrong kind"));
  CHECK(one_line_with(loading(varint(uint64_t{1} << 3 | 2) + varint(uint64_t{1} << 62) + "x"), "damaged"));
  // a normalizer behind a key of 36 bits, of which protobuf reads 32
  CHECK(one_line_with(loading(kPieces + rest + varint((uint64_t{1} << 35) | (3 << 3 | 2)) + varint(0)), "damaged"));
  CHECK(one_line_with(loading(kPieces + rest + kTrainer), "comes twice"));
  CHECK(one_line_with(loading(kPieces + rest + normalizer("")), "comes twice"));
  CHECK(one_line_with(loading(kPieces + block(2, number(3, 3)) + normalizer("")),
                      "unigram or BPE model (type 1 or 2), got type 3"));
  CHECK(one_line_with(loading(kPieces + rest + block(5, block(2, "x"))), "no denormalizer"));
  CHECK(one_line_with(loading(kPieces + piece("a", -2, 1) + rest), "x.model", "already defined"));
  CHECK(one_line_with(loading(kMarkers + rest), "x.model"));
  CHECK(one_line_with(loading(piece("<unk>", 0, 2) + piece("</s>", 0, 3) + piece("a", -1, 1) + rest), "x.model",
                      "expected markers for padding, begin and end, got ids -1, -1 and 1"));

  folder.write("huge.model", "");
  std::filesystem::resize_file(folder.path("huge.model"), uint64_t{1} << 30);
  CHECK(one_line_with(error_of([&] { Tokenizer::load(folder.path("huge.model")); }), "huge.model", "1073741824 bytes"));
  CHECK(one_line_with(error_of([&] { Tokenizer::load(folder.path("none.model")); }), "none.model", "No such file"));
  CHECK(one_line_with(error_of([&] { Tokenizer::load(folder.path()); }), folder.path(), "directory"));
}

TEST_CASE("tokenizer: pieces and normalizers that the library would trust are refused") {
  if (without_sentencepiece()) return;
  const TemporaryFolder folder;
  const auto loading = [&](const std::string& model) {
    return error_of([&] { Tokenizer::load(folder.write("x.model", model)); });
  };
  const std::string rest = kTrainer + normalizer("");
  CHECK(one_line_with(loading(kPieces + piece("", 0, 1) + rest), "piece 6 \"\""));
  CHECK(one_line_with(loading(kPieces + piece("\xE2\x96", 0, 1) + rest), "piece 6", "UTF-8"));
  CHECK(one_line_with(loading(kPieces + piece(std::string("x\0y", 3), 0, 1) + rest), "piece 6", "without NUL"));
  CHECK(one_line_with(loading(kPieces + piece(std::string(513, 'x'), 0, 1) + rest), "piece 6", "1 to 512 bytes"));
  CHECK(
      one_line_with(loading(kPieces + piece(std::string(65, 'x'), 0, 4) + rest), "piece 6: user-defined, of 65 bytes"));
  CHECK(one_line_with(loading(kPieces + piece("b", NAN, 1) + rest), "piece 6", "finite score"));
  CHECK(one_line_with(loading(kPieces + piece("b", 0, 7) + rest), "type in 1 to 6, got 7"));
  CHECK(one_line_with(loading(kPieces + block(1, number(3, 1)) + rest), "piece 6 has no text"));

  const auto with_rules = [&](const std::string& text) { return loading(kPieces + kTrainer + normalizer(text)); };
  const std::string texts("x\0b\0", 4);
  REQUIRE(with_rules(rule_for_a(kEndsAtOne, 2, texts)).empty());
  CHECK(one_line_with(with_rules("abc"), "normalizer cut off"));
  CHECK(one_line_with(with_rules(word(1 << 30) + texts), "a trie of 1073741824 bytes"));
  CHECK(one_line_with(with_rules(word(5) + std::string(20, '\0')), "a trie of 5 bytes"));
  CHECK(one_line_with(with_rules(rules({0, 0}, texts)), "leads out of its 2 units"));
  CHECK(one_line_with(with_rules(rule_for_a(uint32_t{1} << 20 | 'a', 2, texts)), "leads out of its 256 units"));
  CHECK(one_line_with(with_rules(rule_for_a(kEndsAtOne, 4, texts)), "a text at byte 4 of 4"));
  CHECK(one_line_with(with_rules(rule_for_a(kEndsAtOne, 2, "x")), "last text is cut off"));
  CHECK(one_line_with(with_rules(rule_for_a(kEndsAtOne, 0, std::string(257, 'x') + '\0')), "text of 257 bytes"));
  CHECK(one_line_with(with_rules(rule_for_a(kEndsAtOne, 0, std::string("\xFF\0", 2))), "of UTF-8"));
  // a, aa, aaa, … without end: 'a' ^ 'a' is the root again
  CHECK(one_line_with(with_rules(rule_for_a(uint32_t{'a'} << 10 | 'a', 0, texts)), "more than 32 bytes"));
  CHECK(one_line_with(with_rules(rule_for_a(kEndsAtOne, 2, texts + std::string(1 << 20, '\0'))), "at most 1048576"));
}

TEST_CASE("tokenizer: a model cut off is refused, one with a byte changed is refused or runs") {
  if (without_sentencepiece()) return;
  const TemporaryFolder folder;
  const std::string whole = test::slurp(kModel);
  REQUIRE(whole.size() > 3000);
  for (size_t size = 0; size < whole.size(); size += 7) {
    const std::string path = folder.write("cut.model", whole.substr(0, size));
    if (error_of([&] { Tokenizer::load(path); }).find("cut.model") == std::string::npos) FAIL_CHECK("cut at ", size);
  }
  int refused = 0;
  for (size_t at = 0; at < whole.size(); at += 7) {
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ (1 << at % 8));
    const std::string path = folder.write("changed.model", changed);
    refused += !error_of([&] { Tokenizer::load(path).encode({"A PHOTO of e\u0300, ½ ﬁ <s>"}, 100, true); }).empty();
  }
  CHECK(refused > 40);
  CHECK(refused < 400);
}

TEST_CASE("tokenizer: without the library every way in says so") {
  if (can_tokenize()) return;
  CHECK(one_line_with(error_of([] { Tokenizer::train({"a"}, 10); }), "[tokenizer]", "without SentencePiece",
                      "make deps"));
  CHECK(one_line_with(error_of([] { Tokenizer::load(kModel); }), "without SentencePiece"));
}

}  // namespace
}  // namespace sked
