// What make installs: the packages that are missing, and the library, against which README.md's program is compiled.

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/apps/support.h"
#include "tests/common/shell.h"

using namespace sked;
using namespace sked::test;
namespace fs = std::filesystem;

namespace {

bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// Where `make check` installed this build, or "" with a word why nothing can be compiled against it.
std::string installed() {
  const std::string prefix = fs::absolute(build_folder() + "/installed").string();
  if (!fs::exists(prefix + "/lib/pkgconfig/skedastic.pc")) {
    skip("nothing is installed in " + prefix + ": make test does it");
    return "";
  }
  if (shell("command -v pkg-config").code != 0) {
    skip("no pkg-config here");
    return "";
  }
  return prefix;
}

/// Compiles `source` in a folder of its own with what pkg-config says, and runs it.
Shell build_and_run(const std::string& prefix, const std::string& source, const std::string& flags) {
  const TemporaryFolder folder;
  std::ofstream(folder.path("program.cpp")) << source;
  const char* const compiler = std::getenv("CXX");
  return shell("cd '" + folder.path() + "' && export PKG_CONFIG_PATH='" + prefix + "/lib/pkgconfig' && " +
               (compiler != nullptr ? compiler : "g++") + " -Wall -Wextra -Werror program.cpp " + flags +
               " -o program && LD_LIBRARY_PATH='" + prefix + "/lib' ./program");
}

/// The first block of C++ in README.md.
std::string program_of_readme() {
  const std::string readme = slurp("README.md"), fence = "```cpp\n";
  const size_t begin = readme.find(fence);
  REQUIRE(begin != std::string::npos);
  const size_t end = readme.find("```", begin + fence.size());
  REQUIRE(end != std::string::npos);
  return readme.substr(begin + fence.size(), end - begin - fence.size());
}

/// A machine without packages: its PATH has what a shell needs, make, and an apt-get that writes down what it is asked
/// for and has not got `missing`.
struct BareMachine {
  explicit BareMachine(const std::string& missing) {
    for (const char* tool : {"bash", "sh", "env", "tr", "make", "nproc", "sed", "cat"})
      shell("ln -s \"$(command -v " + std::string(tool) + ")\" '" + folder.path(tool) + "'");
    write("id", "echo 0");
    write("dpkg-query", "exit 1");
    write("apt-get",
          "echo \"$* \" >>'" + folder.path("log") + "'\ncase \" $* \" in *\" " + missing + " \"*) exit 100 ;; esac");
  }
  void write(const std::string& tool, const std::string& script) const {
    std::ofstream(folder.path(tool)) << "#!/bin/sh\n" << script << "\n";
    fs::permissions(folder.path(tool), fs::perms::owner_all);
  }
  Shell make(const std::string& arguments) const {
    return shell("env -i PATH='" + folder.path() + "' make --no-print-directory " + arguments);
  }
  /// `make deps`, each package of whose list is missing.
  Shell make_deps() const { return make("deps DATA_ROOT=/nowhere"); }
  std::string log() const { return slurp(folder.path("log")); }
  TemporaryFolder folder;
};

}  // namespace

TEST_CASE("install: make deps on a machine without packages") {
  const BareMachine machine("none");
  const Shell deps = machine.make_deps();
  INFO(deps.text);
  CHECK(deps.code == 0);
  const std::string log = machine.log();
  INFO(log);
  CHECK(log.starts_with("update "));
  for (const char* package :
       {"g++", "nlohmann-json3-dev", "libcli11-dev", "doctest-dev", "libdnnl-dev", "zlib1g-dev", "libzip-dev",
        "libjpeg-dev", "libsentencepiece-dev", "pkg-config", "dataset-fashion-mnist"})
    CHECK(says(log + " ", std::string(" ") + package + " "));
}

TEST_CASE("install: make deps goes on without what costs a feature, and not without what is needed") {
  const BareMachine without_dnnl("libdnnl-dev");
  const Shell wanted = without_dnnl.make_deps();
  INFO(wanted.text);
  CHECK(wanted.code == 0);
  CHECK(says(wanted.text, "going on without libdnnl-dev\n"));
  CHECK(!says(wanted.text, "without zlib1g-dev"));

  const BareMachine without_json("nlohmann-json3-dev");
  const Shell needed = without_json.make_deps();
  INFO(needed.text);
  CHECK(needed.code != 0);
  CHECK(says(needed.text, "error: cannot install"));
  CHECK(says(needed.text, "nlohmann-json3-dev"));
}

TEST_CASE("install: where there is no apt-get, packages are named as the system at hand has them") {
  const BareMachine machine("none");
  fs::remove(machine.folder.path("apt-get"));
  const Shell nothing = machine.make_deps();
  CHECK(nothing.code != 0);
  CHECK(says(nothing.text, "error: no apt-get here: install these by hand: g++ nlohmann-json3-dev"));
  const std::pair<const char*, const char*> systems[] = {
      {"brew", "brew install llvm libomp nlohmann-json "},
      {"pacman", "pacman -S --needed gcc nlohmann-json "},
      {"dnf", "dnf install gcc-c++ json-devel "},
  };
  for (const auto& [manager, command] : systems) {
    machine.write(manager, "exit 1");
    const Shell deps = machine.make_deps();
    INFO(deps.text);
    CHECK(deps.code != 0);
    CHECK(says(deps.text, std::string("by hand: ") + command));
  }
}

TEST_CASE("install: a compiler or a make that is too old is told what is needed") {
  const BareMachine machine("none");
  machine.write("old-g++", "echo COMPILER");
  const Shell compiler = machine.make("BUILD=/nowhere CXX=old-g++ train");
  CHECK(compiler.code == 2);
  CHECK(says(compiler.text, "old-g++ is no compiler of C++20: expected GCC 11 or Clang 16"));
  const Shell make = machine.make("MAKE_VERSION=3.81 help");
  CHECK(make.code == 2);
  CHECK(says(make.text, "make 3.81: expected GNU make 4"));
}

TEST_CASE("install: README's program, shared and static") {
  const std::string prefix = installed();
  if (prefix.empty()) return;
  const std::string program = program_of_readme();
  const Shell shared = build_and_run(prefix, program, "$(pkg-config --cflags --libs skedastic)");
  INFO(shared.text);
  CHECK(shared.code == 0);
  float p[4], noise[4];
  REQUIRE(std::sscanf(shared.text.c_str(),
                      "p(odd) = %f, noise %f\np(odd) = %f, noise %f\np(odd) = %f, noise %f\np(odd) = %f, noise %f",
                      &p[0], &noise[0], &p[1], &noise[1], &p[2], &noise[2], &p[3], &noise[3]) == 8);
  for (int i = 0; i < 4; ++i) {
    CHECK((p[i] > 0.5f) == (i == 1 || i == 2));
    CHECK(noise[i] > 0);
  }
  // Every kernel is in a program linked statically, too, though nobody asks for it by name.
  const Shell fixed = build_and_run(prefix, program,
                                    "$(pkg-config --cflags skedastic) $(pkg-config --static --libs skedastic | "
                                    "sed 's/-lskedastic/-l:libskedastic.a/')");
  INFO(fixed.text);
  CHECK(fixed.code == 0);
  CHECK(fixed.text == shared.text);
}

TEST_CASE("install: a tensor of a global, statically linked, is made or refused in words") {
  const std::string prefix = installed();
  if (prefix.empty()) return;
  const Shell program = build_and_run(prefix,
                                      "#include \"core/tensor.h\"\n"
                                      "static const sked::Tensor zero = sked::Tensor::zeros({3});\nint main() {}\n",
                                      "$(pkg-config --cflags skedastic) $(pkg-config --static --libs skedastic | "
                                      "sed 's/-lskedastic/-l:libskedastic.a/')");
  INFO(program.text);
  CHECK((program.code == 0 || says(program.text, "[fill] no cpu implementation")));
}

TEST_CASE("install: what an older version left goes, and a prefix that pkg-config would break is refused") {
  const TemporaryFolder folder;
  const std::string install = "VERSION=0 SONAME=s.so LIBRARY_LIBS= .make/install.sh '" + folder.path("b") + "' '";
  fs::create_directories(folder.path("b"));
  for (const char* file : {"libskedastic.a", "libskedastic.so"})
    std::ofstream(folder.path(std::string("b/") + file)) << "x";
  REQUIRE(shell(install + folder.path("p") + "' ''").code == 0);
  std::ofstream(folder.path("p/include/skedastic/core/old.h")) << "// old";
  std::ofstream(folder.path("p/lib/skedastic.files"), std::ios::app) << "include/skedastic/core/old.h\n";
  CHECK(shell(install + folder.path("p") + "' ''").code == 0);
  CHECK_FALSE(fs::exists(folder.path("p/include/skedastic/core/old.h")));
  std::ofstream(folder.path("precious")) << "mine";
  std::ofstream(folder.path("p/lib/skedastic.files"), std::ios::app) << "../precious\n\nlib/../../precious\n";
  CHECK(shell(install + folder.path("p") + "' ''").code == 0);
  CHECK(fs::exists(folder.path("precious")));
  CHECK(fs::exists(folder.path("p/include/skedastic/core/tensor.h")));
  const Shell refused = shell(install + folder.path("my prefix") + "' ''");
  CHECK(refused.code == 2);
  CHECK(says(refused.text, "my prefix: expected a path of letters"));
  CHECK_FALSE(fs::exists(folder.path("my prefix")));
}

TEST_CASE("install: the program to show says how it is called") {
  const std::string minimal = build_folder() + "/minimal";
  const Shell help = shell("'" + minimal + "' --help"), wrong = shell("'" + minimal + "' hat");
  CHECK(help.code == 0);
  CHECK(wrong.code == 2);
  for (const Shell& answer : {help, wrong}) CHECK(says(answer.text, "[det|het|het-xl]"));
}
