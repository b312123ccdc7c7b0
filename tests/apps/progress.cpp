// What a running program shows, on terminals of several widths.

#include "apps/common/config/progress.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

using namespace sked;

namespace {

/// What a run called `label` writes to a terminal of that many columns: each line that it draws.
std::vector<std::string> drawn(const std::string& label, unsigned short columns) {
  const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
  REQUIRE(terminal >= 0);
  REQUIRE(grantpt(terminal) == 0);
  REQUIRE(unlockpt(terminal) == 0);
  const int program = open(ptsname(terminal), O_RDWR | O_NOCTTY);
  REQUIRE(program >= 0);
  const winsize size{24, columns, 0, 0};
  REQUIRE(ioctl(program, TIOCSWINSZ, &size) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    dup2(program, STDOUT_FILENO);
    Progress progress(label, 0, 20000, 128, false);
    usleep(120000);  // it draws every 100 ms
    progress.update(5000, 1.25);
    usleep(120000);
    progress.update(20000, 0.5);
    _exit(0);
  }
  waitpid(child, nullptr, 0);
  close(program);
  std::string text, part(1 << 12, '\0');  // it fits the terminal's buffer, but may come in parts
  for (ssize_t count = 0; (count = read(terminal, part.data(), part.size())) > 0;)
    text.append(part, 0, static_cast<size_t>(count));
  close(terminal);
  std::vector<std::string> lines;
  const std::string begin = "\r\033[K";
  for (size_t at = text.find(begin); at != std::string::npos;) {
    const size_t next = text.find(begin, at + 1);
    lines.push_back(text.substr(at + begin.size(), next == std::string::npos ? next : next - at - begin.size()));
    at = next;
  }
  return lines;
}

int64_t characters(const std::string& text) {
  return std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

}  // namespace

TEST_CASE("progress: a line is cut by characters, not bytes") {
  CHECK(cut_to_columns("plain", 80) == "plain");
  CHECK(cut_to_columns("plain", 5) == "plain");
  CHECK(cut_to_columns("plain", 3) == "pla");
  CHECK(cut_to_columns("plain", 0) == "");
  CHECK(cut_to_columns("τ größer", 3) == "τ g");
  CHECK(cut_to_columns("τ größer", 5) == "τ grö");
  CHECK(cut_to_columns("日本語", 2) == "日本");
  CHECK(cut_to_columns("", 0) == "");
}

TEST_CASE("progress: no line is wider than the terminal") {
  for (const std::string label : {"run", "ein sehr langer Name für einen Lauf, größer als manches Fenster"}) {
    for (const unsigned short columns : {20, 40, 80, 200}) {
      CAPTURE(label);
      CAPTURE(columns);
      const std::vector<std::string> lines = drawn(label, columns);
      REQUIRE(lines.size() == 2);
      for (const std::string& line : lines) {
        CAPTURE(line);
        CHECK(characters(line) < columns);
        CHECK(line.substr(0, 3) == label.substr(0, 3));
      }
      const bool whole = columns >= 60 + characters(label);
      CHECK((lines[0].find(" left") != std::string::npos) == whole);
      CHECK((lines[0].find("[") != std::string::npos) == whole);
    }
  }
  CHECK(drawn("run", 200)[0].find(" [======                  ] step 5000/20000  loss 1.2500") != std::string::npos);
}
