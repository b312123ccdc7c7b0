#include "core/text.h"

#include <doctest/doctest.h>

using namespace sked;

TEST_CASE("text: edit distance") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("abc", "") == 3);
  CHECK(edit_distance("kitten", "sitting") == 3);
  CHECK(edit_distance("sitting", "kitten") == 3);
  CHECK(edit_distance("flaw", "lawn") == 2);
  CHECK(edit_distance("same", "same") == 0);
}

TEST_CASE("text: the nearest candidate, the first of several") {
  CHECK(nearest("resnet2O", {"resnet18", "resnet20", "vit-ti"}) == "resnet20");
  CHECK(nearest("b", {"a", "c"}) == "a");
  CHECK(nearest("anything", {"one"}) == "one");
  CHECK(nearest("x", {}).empty());
}

TEST_CASE("text: join") {
  CHECK(join({}).empty());
  CHECK(join({"a"}) == "a");
  CHECK(join({"a", "b", "c"}) == "a, b, c");
  CHECK(join({"", "b"}, "/") == "/b");
}
