// Captions made of class names: templates, synonyms, noise, classes held out.
#include "data/captions.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "data/image_collection.h"
#include "data/tokenizer.h"
#include "tests/common/files.h"
#include "tests/data/samples.h"

namespace sked {
namespace {

using test::counted_dataset;
using test::error_of;
using test::one_line_with;
using test::TemporaryFolder;

const Synonyms kThree{{"cat"}, {"dog", "hound"}, {"bus"}};

std::shared_ptr<const CaptionedDataset> captioned(int64_t count, const CaptionNoise& noise = {},
                                                  const std::vector<std::string>& templates = {"a {}.", "the {}."}) {
  return std::make_shared<CaptionedDataset>(counted_dataset(count, 2, 1), templates, kThree, noise);
}

TEST_CASE("captions: built-in templates and those of a file") {
  CHECK(caption_templates("plain") == std::vector<std::string>{"{}"});
  const std::vector<std::string> photo = caption_templates("photo");
  CHECK(photo.size() == 18);
  CHECK(photo[0] == "a photo of a {}.");
  for (const char* one : {"a blurry photo of the {}.", "a black and white photo of a {}.", "a photo of the big {}."})
    CHECK(std::ranges::count(photo, one) == 1);

  const TemporaryFolder folder;
  const auto reading = [&](const std::string& text) {
    return error_of([&] { caption_templates(folder.write("t.txt", text)); });
  };
  CHECK(caption_templates(folder.write("t.txt", "ein {}\r\n{} là\n")) == std::vector<std::string>{"ein {}", "{} là"});
  CHECK(one_line_with(reading("a {}\nno slot\n"), "t.txt:2", "exactly one {}, got \"no slot\""));
  CHECK(one_line_with(reading("{} and {}\n"), "t.txt:1"));
  CHECK(one_line_with(reading("a {}\n\na {}\n"), "t.txt:2"));
  CHECK(one_line_with(reading("a {}\n\xFF {}\n"), "t.txt:2", "not UTF-8 at byte 0"));
  CHECK(one_line_with(reading(std::string("a\0 {}", 5)), "t.txt:1", "NUL"));
  CHECK(one_line_with(reading(""), "t.txt", "no template"));
  CHECK_THROWS_AS(caption_templates("foto"), UsageError);
  CHECK(one_line_with(error_of([] { caption_templates("foto"); }), "unknown templates \"foto\"", "plain, photo"));
}

TEST_CASE("captions: names are split, and those that several classes share dropped") {
  const auto names = class_synonyms({"T-shirt/top", "goldfish, Carassius auratus", " Shirt , shirt,, blouse/"}, "here");
  CHECK(names == Synonyms{{"T-shirt", "top"}, {"goldfish", "Carassius auratus"}, {"Shirt", "blouse"}});
  CHECK(class_synonyms({"police van, Wagon", "wagon, estate car", "wagon, cart"}, "here") ==
        Synonyms{{"police van"}, {"estate car"}, {"cart"}});
  const auto splitting = [](const std::vector<std::string>& classes, bool lines = false) {
    return error_of([&] { class_synonyms(classes, "c.txt", lines); });
  };
  CHECK(one_line_with(splitting({"cat", "dog", "CAT"}), "c.txt: class 0", "\"cat\" is one of c.txt: class 2 too"));
  CHECK(one_line_with(splitting({"bus", "cat, feline", "cat"}, true), "c.txt:3", "\"cat\" is one of c.txt:2 too"));
  CHECK(one_line_with(splitting({"cat", " ,/ "}, true), "c.txt:2: a class without a name"));
  CHECK(one_line_with(splitting({"cat", "d\xF6g"}), "c.txt: class 1", "not UTF-8 at byte 1"));
}

TEST_CASE("captions: class names of a file instead of the dataset's") {
  const TemporaryFolder folder;
  const auto data = counted_dataset(6);
  const auto of_file = [&](const std::string& text) {
    return class_synonyms({.classes = folder.write("c.txt", text)}, *data);
  };
  CHECK(class_synonyms(CaptionSpec{}, *data) == Synonyms{{"class 0"}, {"class 1"}, {"class 2"}});
  CHECK(of_file("cat, kitty\ndog\r\nbus") == Synonyms{{"cat", "kitty"}, {"dog"}, {"bus"}});
  CHECK(of_file("0\tn1\tcat, kitty\n1\tn2\tdog\n2\tn3\tbus\n") == Synonyms{{"cat", "kitty"}, {"dog"}, {"bus"}});
  const auto reading = [&](const std::string& text) { return error_of([&] { of_file(text); }); };
  CHECK(one_line_with(reading("cat\ndog\n"), "c.txt", "the 3 classes of counted, got 2"));
  CHECK(one_line_with(reading("cat\ndog\ncat\n"), "c.txt:1", "c.txt:3"));
  CHECK(one_line_with(reading("cat\n\ndog\n"), "c.txt:2: a class without a name"));
  CHECK(one_line_with(reading("0\tn1\tcat\n2\tn2\tdog\n"), "c.txt:2", "expected 1<TAB>"));
}

TEST_CASE("captions: Tiny ImageNet's own class list") {
  const auto root = test::data_root_with("tiny-imagenet-200/classes.tsv");
  if (!root) return;
  const auto names =
      class_synonyms(load_class_list(*root + "/tiny-imagenet-200/classes.tsv").names, "classes.tsv", true);
  REQUIRE(names.size() == 200);
  CHECK(names[22] == std::vector<std::string>{"goldfish", "Carassius auratus"});
  // "wagon" is the one name that two classes share
  CHECK(names[90] ==
        std::vector<std::string>{"police van", "police wagon", "paddy wagon", "patrol wagon", "black Maria"});
  CHECK(std::ranges::count(names[147], "wagon") == 0);
  size_t count = 0;
  for (const auto& of_class : names) count += of_class.size();
  CHECK(count == 383);
}

TEST_CASE("captions: prompts are all templates with all names of a class") {
  const auto prompts = class_prompts({"a {}.", "the {}."}, kThree);
  REQUIRE(prompts.size() == 3);
  CHECK(prompts[0] == std::vector<std::string>{"a cat.", "the cat."});
  CHECK(prompts[1] == std::vector<std::string>{"a dog.", "a hound.", "the dog.", "the hound."});
}

TEST_CASE("captions: unseen classes are spread evenly") {
  CHECK(unseen_classes(10, 0).empty());
  CHECK(unseen_classes(0, 0).empty());
  CHECK(unseen_classes(10, 1) == std::vector<int64_t>{9});
  CHECK(unseen_classes(10, 2) == std::vector<int64_t>{4, 9});
  CHECK(unseen_classes(10, 3) == std::vector<int64_t>{3, 6, 9});
  CHECK(unseen_classes(10, 9).size() == 9);
  CHECK(unseen_classes(200, 40).size() == 40);
  CHECK(unseen_classes(200, 40)[1] == 9);
  for (const int64_t unseen : {-1, 10, 11}) CHECK_THROWS_AS(unseen_classes(10, unseen), UsageError);
  CHECK_THROWS_AS(unseen_classes(0, 1), UsageError);

  const auto data = counted_dataset(10);  // labels 0 1 2 0 1 2 …
  const auto rest = without_classes(data, {1});
  REQUIRE(rest->size() == 7);
  for (int64_t i = 0; i < rest->size(); ++i) CHECK(rest->label(i) != 1);
  CHECK(rest->image(1).to_vector<uint8_t>() == data->image(2).to_vector<uint8_t>());
  CHECK(without_classes(data, {})->size() == 10);
  CHECK(without_classes(data, {0, 1, 2})->size() == 0);
}

TEST_CASE("captions: templates and names are drawn evenly, at the address of seed, epoch and index") {
  const auto data = captioned(3);
  CHECK(data->has_captions());
  CHECK(data->size() == 3);
  CHECK(data->label(1) == 1);
  std::map<std::string, int> counts;
  for (int64_t epoch = 0; epoch < 4000; ++epoch) ++counts[epoch_caption(*data, 5, epoch, 1)];
  REQUIRE(counts.size() == 4);
  // five standard deviations of a binomial share of 4000
  for (const char* text : {"a dog.", "a hound.", "the dog.", "the hound."})
    CHECK(std::abs(counts[text] - 1000) < 5 * std::sqrt(4000 * 0.25 * 0.75));
  const auto drawn = [&](uint64_t seed, int64_t epoch) { return captions_of(*captioned(60), seed, epoch); };
  CHECK(drawn(1, 2) == drawn(1, 2));
  CHECK(drawn(1, 2) != drawn(1, 3));
  CHECK(drawn(1, 2) != drawn(2, 2));
  CHECK(drawn(1, 0) == captions_of(*captioned(60), 1));
  Rng rng({1, 2, 3});
  CHECK(one_line_with(error_of([&] { counted_dataset(2)->caption(0, rng); }), "counted has no captions"));
  CHECK_FALSE(counted_dataset(2)->has_captions());
  CHECK(one_line_with(error_of([&] { data->caption(3, rng); }), "counted", "0 to 2"));
  const Subset last(data, 2, 3);
  CHECK(last.has_captions());
  CHECK(last.caption(0, rng).ends_with(" bus."));
}

TEST_CASE("captions: noise names another class, evenly, at the rate asked for, once and for all") {
  const int64_t count = 6000;
  const auto data = captioned(count, {.rate = 0.3, .seed = 7});
  std::map<std::pair<int64_t, int64_t>, int> wrong;
  int64_t flips = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t named = data->caption_class(i);
    if (named == data->label(i)) continue;
    ++flips;
    ++wrong[{data->label(i), named}];
  }
  // five standard deviations
  CHECK(std::abs(static_cast<double>(flips) - 0.3 * count) < 5 * std::sqrt(0.3 * 0.7 * count));
  REQUIRE(wrong.size() == 6);
  for (const auto& [pair, times] : wrong) CHECK(std::abs(times - 300) < 5 * std::sqrt(2000 * 0.15 * 0.85));
  for (int64_t epoch = 0; epoch < 5; ++epoch) {
    const std::string text = epoch_caption(*data, 1, epoch, 4);
    const auto& names = kThree[static_cast<size_t>(data->caption_class(4))];
    CHECK(std::ranges::any_of(names, [&](const std::string& name) { return text.find(name) != text.npos; }));
  }
  const auto classes = [&](const CaptionNoise& noise, int64_t size = 300) {
    const auto made = captioned(size, noise);
    std::vector<int64_t> named;
    for (int64_t i = 0; i < 300; ++i) named.push_back(made->caption_class(i));
    return named;
  };
  CHECK(classes({.rate = 0.3, .seed = 7}) == classes({.rate = 0.3, .seed = 7}, 400));
  CHECK(classes({.rate = 0.3, .seed = 7}) != classes({.rate = 0.3, .seed = 8}));
  CHECK(classes({.rate = 0.3, .seed = 7}) != classes({.rate = 0.3, .seed = 7, .split = 1}));
  for (int64_t i = 0; i < 300; ++i) {
    CHECK(captioned(300)->caption_class(i) == i % 3);
    CHECK(captioned(300, {.rate = 1})->caption_class(i) != i % 3);
    // with a class held out, wrong captions of the others name the one that is left
    if (i % 3 != 1) CHECK(captioned(300, {.rate = 1, .unseen = {1}})->caption_class(i) == 2 - i % 3);
  }
}

TEST_CASE("captions: what does not fit together is an error") {
  const auto base = counted_dataset(3);
  const auto making = [&](const std::vector<std::string>& templates, const Synonyms& names,
                          const CaptionNoise& noise = {}) {
    return error_of([&] { CaptionedDataset(base, templates, names, noise); });
  };
  CHECK(making({"{}"}, kThree).empty());
  CHECK(one_line_with(making({}, kThree), "templates with one {}"));
  CHECK(one_line_with(making({"{}", "x"}, kThree), "templates with one {}", "{}, x"));
  CHECK(one_line_with(making({"{}"}, {{"a"}, {"b"}}), "names for 3 classes, got 2"));
  CHECK(one_line_with(making({"{}"}, {{"a"}, {}, {"c"}}), "class 1 has no name"));
  CHECK(one_line_with(making({"{}"}, kThree, {.rate = 1.5}), "in [0, 1], got 1.5"));
  CHECK(one_line_with(making({"{}"}, kThree, {.rate = NAN}), "in [0, 1], got nan"));
  CHECK(one_line_with(making({"{}"}, kThree, {.rate = 0.1, .unseen = {0, 2}}), "for noise, got 1"));
  CHECK(one_line_with(error_of([&] { CaptionedDataset(nullptr, {"{}"}, kThree); }), "got none"));
}

TEST_CASE("captions: splits get theirs, without unseen classes in training and with right captions in test") {
  const auto data = counted_dataset(600);
  const Splits bare{std::make_shared<Subset>(data, 0, 400), std::make_shared<Subset>(data, 400, 500),
                    std::make_shared<Subset>(data, 500, 600)};
  const CaptionSpec spec{.templates = "plain", .noise_rate = 0.5, .noise_seed = 3, .unseen = 1};
  const Splits splits = with_captions(bare, spec);
  const auto wrong = [](const Dataset& split) {
    int64_t count = 0;
    const auto captions = captions_of(split, 0);
    for (size_t i = 0; i < captions.size(); ++i)
      count += captions[i] != "class " + std::to_string(split.label(static_cast<int64_t>(i)));
    return count;
  };
  CHECK(splits.train->size() == 267);  // labels 0 and 1 of 400
  for (const auto& text : captions_of(*splits.train, 0)) CHECK(text != "class 2");
  CHECK(std::abs(wrong(*splits.train) - 133) < 5 * std::sqrt(267 * 0.25));
  CHECK(splits.validation->size() == 67);
  CHECK(wrong(*splits.validation) > 0);
  CHECK(splits.test->size() == 100);
  CHECK(wrong(*splits.test) == 0);
  Splits without = bare;
  without.validation = nullptr;
  CHECK(with_captions(without, spec).validation == nullptr);
  CHECK_THROWS_AS(with_captions(bare, {.noise_rate = -0.1}), UsageError);
  CHECK_THROWS_AS(with_captions(bare, {.unseen = 3}), UsageError);
  // with captions of their own
  CHECK(with_captions(splits, {}).train == splits.train);
  CHECK(one_line_with(error_of([&] { with_captions(splits, {.unseen = 1}); }), "captions of its own"));
}

TEST_CASE("captions: the real Fashion-MNIST, to tokens and back") {
  if (!can_tokenize()) return test::skip("built without SentencePiece");
  const auto root = test::data_root_with("fashion-mnist/train-images-idx3-ubyte.gz");
  if (!root) return;
  Splits bare;
  const std::string error = error_of([&] { bare = load_splits({.root = *root}, 5000); });
  if (error.find("built without zlib") != std::string::npos) return test::skip("built without zlib");
  REQUIRE(error.empty());
  const Splits splits = with_captions(bare, {.noise_rate = 0.2, .unseen = 2});
  CHECK(splits.train->size() + splits.validation->size() == 48000);
  const std::vector<std::string> captions = captions_of(*splits.train, 0);
  const Tokenizer tokenizer = Tokenizer::train(captions, 300);
  CHECK(tokenizer.vocabulary() > 60);
  CHECK(tokenizer.vocabulary() <= 300);
  for (const std::string& text : captions)
    CHECK_FALSE((text.find("Coat") != text.npos || text.find("boot") != text.npos));
  const TokenBatch batch = tokenizer.encode(captions, 16, false);
  CHECK(batch.ids.shape() == Shape{static_cast<int64_t>(captions.size()), 16});
  for (size_t i = 0; i < 1000; ++i) {
    std::string lower = captions[i];
    std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const auto row = static_cast<int64_t>(i);
    if (tokenizer.decode(batch.ids.rows(row, row + 1).to_vector<int64_t>()) != lower)
      FAIL_CHECK("caption ", captions[i]);
  }
}

}  // namespace
}  // namespace sked
