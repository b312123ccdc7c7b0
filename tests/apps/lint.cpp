// lint: a tree without faults passes, and each rule sees a fault of its kind.

#include <doctest/doctest.h>

#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "tests/common/files.h"
#include "tests/common/shell.h"

using namespace sked;
using namespace sked::test;

namespace {

struct File {
  std::string path, text;
};

/// Files that make one fault, and what is said about it.
struct Fault {
  std::vector<File> files;
  std::string message;
};

struct Verdict : Shell {
  size_t findings = 0;
};

Verdict lint(const std::string& folder) {
  Verdict verdict{shell("tests/lint.sh '" + folder + "'")};
  for (char c : verdict.text) verdict.findings += c == '\n';
  // the closing line, and the one that says that formatting was not checked
  verdict.findings -= verdict.text.find("FORMAT NOT CHECKED") == std::string::npos ? 1 : 2;
  return verdict;
}

std::string lines(int count, const std::string& line = "\n") {
  std::string text;
  for (int i = 0; i < count; ++i) text += line;
  return text;
}

/// What every tree must have.
const std::vector<File> kTree = {
    {"Makefile", "PLAIN_GOALS := demo\nall:\n"},
    {"README.md",
     "# Name\n\n    make demo\n    build/train --config apps/configs/a.json\n\n[method](layers/heads/METHOD.md)\n"},
    {"layers/heads/METHOD.md", "# The method\n\n## Heads\n"},
    {"apps/train/main.cpp", "// METHOD.md, \"Heads\"\nint main() {}\n"},
    {"apps/configs/a.json", "{}\n"}};

std::vector<Fault> faults() {
  const std::string unfinished = std::string("TO") + "DO";
  const std::string function = "int f() {\n" + lines(59, "  f();\n") + "  return 0;\n}\n";
  return {
      // levels
      {{{"core/a.cpp", "#include \"autograd/var.h\"\n"}}, "core/a.cpp:1: core must not include autograd/var.h"},
      {{{"core/a.cpp", "#include \"../a.h\"\n"}}, "core/a.cpp:1: relative include"},
      {{{"apps/common/config/a.cpp", "#include \"apps/common/run/b.h\"\n"}}, "apps/common/run/b.h points upwards"},
      {{{"data/a.cpp", "#include <cuda_runtime.h>\n"}}, "data/a.cpp:1: CUDA header"},
      {{{"core/a.cpp", "#include <dnnl.hpp>\n"}}, "core/a.cpp:1: oneDNN header"},
      {{{"apps/train/a.cpp", "#include \"apps/scale/b.h\"\n"}}, "apps/train/a.cpp:1: an app includes no other"},
      {{{"data/a.cpp", "#include <nlohmann/json.hpp>\n"}}, "data/a.cpp:1: JSON header"},
      {{{"apps/train/main.cpp", "// METHOD.md, \"Heads\"\n#include <CLI/CLI.hpp>\nint main() {}\n"}},
       "apps/train/main.cpp:2: CLI11 header"},
      {{{"core/a.cpp", "\n#ifdef CUDA\n#endif\n"}}, "core/a.cpp:2: a condition on CUDA"},
      // circles: of headers, and by way of a source
      {{{"core/a.h", "#include \"core/b.h\"\n"}, {"core/b.h", "#include \"core/a.h\"\n"}}, "in a circle of 2"},
      {{{"core/a.h", "#include \"core/b.h\"\n"}, {"core/b.h", ""}, {"core/b.cpp", "#include \"core/a.h\"\n"}},
       "core/b.cpp:1: includes in a circle of 2: core/a core/b"},
      {{{"core/a.h", "#include \"core/b.h\"\n"},
        {"core/b.h", "#include \"core/c.h\"\n"},
        {"core/c.cuh", "#include \"core/a.h\"\n"},
        {"core/c.h", ""}},
       "in a circle of 3"},
      // types of one name
      {{{"core/a.h", "namespace sked {\nstruct Window {};\n} // namespace sked\n"},
        {"core/b.cpp", "namespace sked {\nnamespace {\nstruct Window {};\n} // namespace\n} // namespace sked\n"},
        {"data/c.h", "namespace sked {\nenum class Window { a };\n} // namespace sked\n"}},
       "data/c.h:2: sked::Window is defined in core/a.h, too"},
      // sizes
      {{{"core/a.cpp", lines(501, "int f();\n")}}, "core/a.cpp:501: 501 lines, at most 500"},
      {{{"tests/a.cpp", lines(701, "int f();\n")}}, "tests/a.cpp:701: 701 lines, at most 700"},
      {{{"core/a.cpp", function}}, "core/a.cpp:1: function of 62 lines, at most 60"},
      {{{"README.md", "# Name\n" + lines(100)}}, "README.md:101: 101 lines, at most 100"},
      {{{"core/a.cpp", "// " + std::string(118, 'x') + "\n"}}, "core/a.cpp:1: over 120 columns"},
      {{{"core/README.md", "\n" + std::string(101, 'x') + "\n"}}, "core/README.md:2: over 100 columns"},
      // documents
      {{{"core/a.cpp", "// as METHOD.md, \"Nowhere\"\n"}},
       "core/a.cpp:1: layers/heads/METHOD.md has no section \"Nowhere\""},
      {{{"core/a.cpp", "// as METHOD.md,\n// \"No\n// where\"\n"}},
       "core/a.cpp:3: layers/heads/METHOD.md has no section \"No where\""},
      {{{"core/README.md", "# c\n\n    build/nothing --help\n"}}, "core/README.md:3: build/nothing is not a program"},
      {{{"core/README.md", "see `make\nnothing`\n"}},
       "core/README.md:2: make nothing: the Makefile has no such target"},
      {{{"core/README.md", "```\nmake A=\"b c\" demo && make none  # make demo\n```\n"}},
       "core/README.md:2: make none"},
      {{{"core/README.md", "[there](../core/gone.md)\n"}}, "core/README.md:1: a link to ../core/gone.md"},
      {{{"core/README.md", "# A b: c\n[a](#a-b-c), [b](README.md#a-b)\n"}},
       "core/README.md:2: core/README.md has no heading #a-b"},
      {{{"core/README.md", "`build/train --config apps/configs/b.json`\n"}},
       "core/README.md:1: apps/configs/b.json is not there"},
      {{{"core/README.md", "`cpu/a*.cpp`\n"}}, "core/README.md:1: cpu/a*.cpp is not there"},
      {{{"core/README.md", "`gone.h`\n"}}, "core/README.md:1: no file is called gone.h"},
      // the rest
      {{{"core/a.cpp", "// " + unfinished + "\n"}}, "core/a.cpp:1: unfinished"},
      {{{"core/a.cpp", "void f() { fail(\"f\", \"1 … 5\"); }\n"}}, "core/a.cpp:1: an ellipsis"},
      {{{"more.txt", ""}}, "more.txt:1: not part of the top level"},
  };
}

}  // namespace

TEST_CASE("lint: finds one fault of each kind, and none in a tree without") {
  const TemporaryFolder folder;
  for (const File& file : kTree) folder.write(file.path, file.text);
  // every folder of the plan wants its README: the lines `FOLDER/README.md:1: missing …`
  std::istringstream wanting(lint(folder.path()).text);
  for (std::string line; std::getline(wanting, line);)
    if (const size_t end = line.find(":1: missing"); end != std::string::npos) folder.write(line.substr(0, end), "");
  const Verdict clean = lint(folder.path());
  CHECK_MESSAGE(clean.code == 0, clean.text);
  CHECK(clean.findings == 0);

  for (const Fault& fault : faults()) {
    CAPTURE(fault.message);
    std::vector<File> before;
    for (const File& file : fault.files) {
      if (std::filesystem::exists(folder.path(file.path))) before.push_back({file.path, slurp(folder.path(file.path))});
      folder.write(file.path, file.text);
    }
    const Verdict verdict = lint(folder.path());
    CAPTURE(verdict.text);
    CHECK(verdict.code == 1);
    CHECK(verdict.findings == 1);
    CHECK(verdict.text.find(fault.message) != std::string::npos);
    for (const File& file : fault.files) std::filesystem::remove(folder.path(file.path));
    for (const File& file : before) folder.write(file.path, file.text);
  }
}

TEST_CASE("lint: a file that clang-format would change is a finding") {
  if (std::system("command -v clang-format >/dev/null") != 0) return skip("clang-format is not installed");
  const TemporaryFolder folder;
  folder.write("core/a.cpp", "int  f( );\n");
  CHECK(lint(folder.path()).text.find("core/a.cpp:1: not formatted") != std::string::npos);
}
