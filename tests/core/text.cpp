#include "core/text.h"

#include <doctest/doctest.h>

#include "tests/common/files.h"

using namespace sked;

TEST_CASE("lower_case changes ASCII letters and no other byte") {
  CHECK(lower_case("IMG_01.JPG [Z]{a}@`") == "img_01.jpg [z]{a}@`");
  CHECK(lower_case("ÄÖ\xC9") == "ÄÖ\xC9");
  CHECK(lower_case("").empty());
}

TEST_CASE("text: edit distance") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("abc", "") == 3);
  CHECK(edit_distance("kitten", "sitting") == 3);
  CHECK(edit_distance("sitting", "kitten") == 3);
  CHECK(edit_distance("flaw", "lawn") == 2);
  CHECK(edit_distance("same", "same") == 0);
  CHECK(edit_distance("haed", "head") == 1);
  CHECK(edit_distance("ca", "abc") == 3);
}

TEST_CASE("text: the nearest candidate, the first of several; none where all are far") {
  CHECK(nearest("resnet2O", {"resnet18", "resnet20", "vit-ti"}) == "resnet20");
  CHECK(nearest("be", {"b", "c"}).empty());
  CHECK(nearest("bees", {"beas", "beds"}) == "beas");
  for (const std::string typed : {"hexl", "HETXL", "het_xl", "Het-XL", "het xl", "hte-xl"})
    CHECK_MESSAGE(nearest(typed, {"det", "het", "het-xl"}) == "het-xl", typed);
  CHECK(nearest("vit_small_patch16_224", {"vit-ti", "vit", "vit-s", "resnet18"}) == "vit-s");
  CHECK(nearest("resnet50.a1_in1k", {"resnet18", "resnet50", "resnet50-d"}) == "resnet50");
  CHECK(nearest("Warmup", {"warmup_epochs", "warmup_steps"}) == "warmup_steps");
  CHECK(nearest("MNIST", {"shards", "fashion-mnist"}) == "fashion-mnist");
  CHECK(nearest("xl", {"det", "het-xl"}).empty());  // two letters are within anything
  CHECK(nearest("cos", {"constant", "cosine"}) == "cosine");
  CHECK(nearest("anything", {"one"}).empty());
  CHECK(nearest("asymmetric", {"none", "symmetric"}).empty());  // the opposite
  CHECK(nearest("--no-deterministic", {"--deterministic"}).empty());
  CHECK(nearest("ssymmetric", {"none", "symmetric"}) == "symmetric");
  CHECK(nearest("--", {"one", ""}).empty());
  CHECK(nearest("x", {}).empty());
  CHECK(nearest(std::string(50'000'000, 'x'), std::vector<std::string>(1000, std::string(1000, 'y'))).empty());
  CHECK(nearest(std::string(50'000'000, 'x'), {std::string(1000, 'x')}).size() == 1000);
  CHECK(did_you_mean("adamx", {"sgd", "adam"}) == " (did you mean \"adam\"?)");
  CHECK(did_you_mean("gpu", {"auto", "cpu", "cuda"}).empty());
  CHECK(did_you_mean("rmsprop", {"sgd", "adam"}).empty());
}

TEST_CASE("text: join") {
  CHECK(join({}).empty());
  CHECK(join({"a"}) == "a");
  CHECK(join({"a", "b", "c"}) == "a, b, c");
  CHECK(join({"", "b"}, "/") == "/b");
}

TEST_CASE("text: blanks at both ends, lines with any end") {
  CHECK(trimmed(" \t a b\r\n") == "a b");
  CHECK(trimmed(" \n ").empty());
  CHECK(trimmed("").empty());
  using Lines = std::vector<std::string_view>;
  CHECK(lines_of("").empty());
  CHECK(lines_of("a") == Lines{"a"});
  CHECK(lines_of("a\r\n\nb\n") == Lines{"a", "", "b"});
  CHECK(lines_of("\n") == Lines{""});
  CHECK(lines_of("a\rb\n\r") == Lines{"a\rb", ""});
}

TEST_CASE("text: UTF-16 with its mark, or of ASCII without one") {
  for (const auto& wide : {std::string("\xFF\xFE\x1A\x04", 4), std::string("\xFE\xFF", 2), std::string("a\0b\0", 4),
                           std::string("\0a\0b", 4)})
    CHECK(is_utf16(wide));
  for (const auto& bytes :
       {std::string(), std::string("abcd"), std::string("a\0bc", 4), std::string(4, '\0'), std::string("a\0", 2),
        std::string("\xEF\xBB\xBF"
                    "a")})
    CHECK_FALSE(is_utf16(bytes));
}

TEST_CASE("text: lines of a file without a mark, blank lines at its end, or line ends of another kind") {
  using Lines = std::vector<std::string_view>;
  CHECK(file_lines("\xEF\xBB\xBF"
                   "a\r\nb\r\n\r\n \n",
                   "t") == Lines{"a", "b"});
  CHECK(file_lines("a\n\nb", "t") == Lines{"a", "", "b"});
  CHECK(file_lines("", "t").empty());
  CHECK(file_lines("a\r", "t") == Lines{"a"});
  CHECK(
      test::one_line_with(test::error_of([] { file_lines("a\rb\r", "t.txt"); }), "t.txt: lines that end in \\r alone"));
  for (const std::string mark : {"\xFF\xFE", "\xFE\xFF"})
    CHECK(test::one_line_with(test::error_of([&] { file_lines(mark + "a", "t.txt"); }), "t.txt: text in UTF-16"));
}

TEST_CASE("text: fields in quotes as Python's csv reads them, and those that are none") {
  CHECK(unquoted("\"a cat\"") == "a cat");
  CHECK(unquoted("\"a \"\"small\"\" cat\"") == "a \"small\" cat");
  CHECK(unquoted("\"\"") == "");
  CHECK(unquoted("\"\"\"\"") == "\"");
  for (const char* text : {"", "a", "\"", "\"a", "a\"", "\"\"\"", "\"a\" b \"c\"", " \"a\"", "\"a\"\"", "\"\"a\""})
    CHECK(unquoted(text) == std::nullopt);
}

TEST_CASE("text: a field of CSV, there and back") {
  CHECK(quoted_field("a cat; small") == "a cat; small");
  CHECK(quoted_field("") == "");
  for (const char* text : {"a,b", "\"", "two\nlines", "\r", "say \"a, b\""})
    CHECK(unquoted(quoted_field(text)) == text);
}

TEST_CASE("text: an excerpt is one line of valid UTF-8, cut between characters") {
  CHECK(excerpt("a\tb\nc") == "a?b?c");
  CHECK(excerpt("caf\xE9") == "caf\\xE9");
  CHECK(excerpt(std::string(80, 'a')) == std::string(80, 'a'));
  CHECK(excerpt(std::string(81, 'a')) == std::string(80, 'a') + "...");
  CHECK(excerpt(std::string(79, 'a') + "é") == std::string(79, 'a') + "...");
  CHECK(excerpt(std::string(78, 'a') + "é") == std::string(78, 'a') + "é");
  CHECK(excerpt(std::string(79, 'a') + "\xE9") == std::string(79, 'a') + "\\xE9");
  CHECK_FALSE(invalid_utf8(excerpt(std::string(200, '\x80'))).has_value());
}

TEST_CASE("text: UTF-8 by table 3-7 of the Unicode standard") {
  for (const std::string good : {"", "a", "\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF",
                                 "\xEE\x80\x80", "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    CAPTURE(good);
    CHECK_FALSE(invalid_utf8(good).has_value());
    if (!good.empty()) CHECK(code_point(good, 0)->bytes == good.size());
  }
  CHECK(code_point("x\xE2\x96\x81", 1)->value == 0x2581);
  CHECK(code_point("\xF0\x9F\x98\x80", 0)->value == 0x1F600);
  CHECK_FALSE(code_point("a", 1).has_value());
  CHECK(valid_utf8("\xC3\xA9t\xE9!") == "\xC3\xA9t\\xE9!");
  // stray and missing continuations, overlong forms, surrogates, beyond U+10FFFF, bytes that never occur
  for (const std::string bad : {"\x80", "\xBF", "\xC2", "\xC2\x41", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xE2\x96",
                                "\xE2\x96\x41", "\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x8F\xBF\xBF", "\xF0\x9F\x98",
                                "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFE", "\xFF"}) {
    CAPTURE(bad);
    CHECK(invalid_utf8("ab" + bad) == 2);
    CHECK(invalid_utf8(bad + "ab") == 0);
    CHECK_FALSE(invalid_utf8(valid_utf8("ab" + bad + "ab")).has_value());
  }
}

TEST_CASE("text: what a terminal may show of any bytes") {
  CHECK(printable("") == "");
  CHECK(printable("caf\u00e9 \u65e5\u672c \U0001F600 100 % <b>\\") == "caf\u00e9 \u65e5\u672c \U0001F600 100 % <b>\\");
  CHECK(printable("\x1b[31mred\r\n\ttab\x7f") == "\\x1B[31mred\\x0D\\x0A\\x09tab\\x7F");
  CHECK(printable(std::string_view("a\0b", 3)) == "a\\x00b");
  CHECK(printable("\u0080\u009b31m\u009f\u00a0") == "\\u0080\\u009B31m\\u009F\u00a0");  // C1: CSI in one character
  CHECK(printable("\u2027\u2028\u202e\u202f") == "\u2027\\u2028\\u202E\u202f");
  CHECK(printable("\u2065\u2066\u2069\u206a") == "\u2065\\u2066\\u2069\u206a");
  CHECK(printable("caf\xE9 \x9b") == "caf\\xE9 \\x9B");
}

TEST_CASE("text: an excerpt ends between two characters") {
  CHECK(excerpt(std::string(80, 'x')) == std::string(80, 'x'));
  CHECK(excerpt(std::string(81, 'x')) == std::string(80, 'x') + "...");
  for (size_t before = 76; before <= 80; ++before) {
    CAPTURE(before);
    CHECK_FALSE(invalid_utf8(excerpt(std::string(before, 'x') + "é日本\U0001F600")).has_value());
  }
  CHECK(excerpt(std::string(79, 'x') + "é") == std::string(79, 'x') + "...");
  CHECK(excerpt(std::string(200, '\x80')).size() >= 76);  // no UTF-8 at all
  CHECK(excerpt("a\n\x1b") == "a??");
}

TEST_CASE("text: columns are those of a terminal") {
  CHECK(display_width("") == 0);
  CHECK(display_width("τ größer") == 8);
  CHECK(display_width("日本語") == 6);
  CHECK(display_width("u\u0308ber") == 4);  // u, a combining diaeresis, b, e, r
  CHECK(display_width("🐱") == 2);
  CHECK(display_width("\xE9t\xE9") == 3);
}

TEST_CASE("text: a line is cut by columns, not bytes") {
  CHECK(cut_to_columns("plain", 80) == "plain");
  CHECK(cut_to_columns("plain", 5) == "plain");
  CHECK(cut_to_columns("plain", 3) == "pla");
  CHECK(cut_to_columns("plain", 0) == "");
  CHECK(cut_to_columns("τ größer", 3) == "τ g");
  CHECK(cut_to_columns("τ größer", 5) == "τ grö");
  CHECK(cut_to_columns("日本語", 5) == "日本");
  CHECK(cut_to_columns("u\u0308ber", 1) == "u\u0308");
  CHECK(cut_to_columns("", 0) == "");
}

TEST_CASE("text: words are wrapped at a width") {
  CHECK(wrapped("one two three", 80) == "one two three");
  CHECK(wrapped("one two three", 7) == "one two\nthree");
  CHECK(wrapped("one two three", 9, 2) == "one two\n  three");
  CHECK(wrapped("incomprehensible is long", 8) == "incomprehensible\nis long");
  CHECK(wrapped("", 10) == "");
}
