#pragma once
// The kinds of files that programs read, each with a small original and the command that reads it.

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/common/files.h"

namespace sked::test {

/// A kind of file. In `words`, `file` and the texts of `beside`, `@` stands for a folder of one mutation's own.
struct Kind {
  std::string name;
  bool text = false;  // changed by words too
  std::string original;
  std::string file;                                              // where the changed one is put
  std::vector<std::string> words;                                // the program and its arguments
  std::map<std::string, std::string> beside = {};                // other files in that folder
  std::map<std::string, std::string> links = {};                 // links in it, to files of everybody's
  std::function<std::string(const std::string&)> finished = {};  // what is done to it once it is changed
  bool may_be_refused = false;                                   // the original too: by a library it needs
  int64_t slow = 1;                                              // so many mutations fewer are made
};

/// All kinds, made by runs of the programs in `folder` and from fixtures.
std::vector<Kind> kinds_in(const TemporaryFolder& folder);

}  // namespace sked::test
