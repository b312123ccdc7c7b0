#pragma once
// Commands, run by the shell.

#include <doctest/doctest.h>
#include <stdio.h>
#include <sys/wait.h>

#include <filesystem>
#include <string>

namespace sked::test {

struct Shell {
  int code = -1;     // exit code; -1: it did not exit by itself
  std::string text;  // stdout and stderr
};

/// The path of the tests that run.
inline std::string own_program() { return std::filesystem::read_symlink("/proc/self/exe").string(); }

/// Runs a command line and waits for it.
inline Shell shell(const std::string& command) {
  Shell result;
  FILE* pipe = popen(("{ " + command + "; } 2>&1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  char buffer[4096];
  while (const size_t n = fread(buffer, 1, sizeof buffer, pipe)) result.text.append(buffer, n);
  const int status = pclose(pipe);
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

}  // namespace sked::test
