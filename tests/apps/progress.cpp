// What a running program shows, on terminals of several widths.

#include "apps/common/config/progress.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <vector>

#include "core/text.h"

using namespace sked;

namespace {

void resize(int terminal, unsigned short columns) {
  const winsize size{24, columns, 0, 0};
  ioctl(terminal, TIOCSWINSZ, &size);
}

/// What `program`, given its end of it, writes to a terminal of that many columns.
std::string written(unsigned short columns, const std::function<void(int terminal)>& program) {
  const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
  REQUIRE(terminal >= 0);
  REQUIRE(grantpt(terminal) == 0);
  REQUIRE(unlockpt(terminal) == 0);
  const int end = open(ptsname(terminal), O_RDWR | O_NOCTTY);
  REQUIRE(end >= 0);
  resize(end, columns);
  std::fflush(stdout);  // what doctest has said stays its own
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    dup2(end, STDOUT_FILENO);
    setenv("TERM", "xterm", 1);
    program(end);
    std::fflush(stdout);
    _exit(0);
  }
  waitpid(child, nullptr, 0);
  close(end);
  std::string text, part(1 << 12, '\0');  // it fits the terminal's buffer, but may come in parts
  for (ssize_t count = 0; (count = read(terminal, part.data(), part.size())) > 0;)
    text.append(part, 0, static_cast<size_t>(count));
  close(terminal);
  return text;
}

void wait_for_redraw() { usleep(220000); }  // it draws every 200 ms

std::string run_of(const std::string& label, unsigned short columns, unsigned short later) {
  return written(columns, [&](int terminal) {
    Progress progress(label, 0, 20000, 128, false);
    wait_for_redraw();
    progress.update(5000, 1.25);
    resize(terminal, later);
    wait_for_redraw();
    progress.update(20000, 0.5);
  });
}

/// Each line that is drawn over the one before, without its escape sequences.
std::vector<std::string> drawn(const std::string& text) {
  const std::string begin = "\r\033[?7l", end = "\033[K\033[?7h";
  std::vector<std::string> lines;
  for (size_t at = text.find(begin); at != std::string::npos; at = text.find(begin, at + 1)) {
    const size_t from = at + begin.size(), to = text.find(end, from);
    REQUIRE(to != std::string::npos);
    lines.push_back(text.substr(from, to - from));
  }
  return lines;
}

}  // namespace

TEST_CASE("progress: no line is wider than the terminal") {
  for (const std::string label :
       {"run", "ein sehr langer Name für einen Lauf, größer als manches Fenster", "日本語の実行 e\u0301"}) {
    for (const unsigned short columns : {1, 20, 40, 80, 200}) {
      CAPTURE(label);
      CAPTURE(columns);
      const std::vector<std::string> lines = drawn(run_of(label, columns, columns));
      REQUIRE(lines.size() == 2);
      for (const std::string& line : lines) {
        CAPTURE(line);
        CHECK(display_width(line) < columns);
        CHECK(line.find('\n') == std::string::npos);
        if (columns > 4) CHECK(line.substr(0, 3) == label.substr(0, 3));
      }
      const size_t width = display_width(label), least = 8;  // of a long name
      CHECK((lines[0].find(" left") != std::string::npos) == (columns >= 60 + std::min(width, least)));
      CHECK((lines[0].find("[") != std::string::npos) == (columns >= 60 + width));
      CHECK((lines[0].find("…") != std::string::npos) == (columns > least && columns < 50 + width && width > least));
    }
  }
  const std::string wide = drawn(run_of("run", 200, 200))[0];
  CHECK(wide.find(" [======                  ] step 5000/20000  loss 1.2500") != std::string::npos);
}

TEST_CASE("progress: a terminal that changes its width has lines that fit from then on") {
  const std::vector<std::string> lines = drawn(run_of("a label", 120, 30)), grown = drawn(run_of("a label", 30, 120));
  CHECK(display_width(lines.at(0)) >= 60);
  CHECK(display_width(lines.at(1)) < 30);
  CHECK(display_width(grown.at(0)) < 30);
  CHECK(display_width(grown.at(1)) >= 50);
}

TEST_CASE("progress: a line that stays stands where the bar was") {
  const std::string text = written(80, [](int) {
    Progress progress("run", 0, 10, 1, false);
    wait_for_redraw();
    progress.update(5);
    progress.note("epoch 1");
    progress.update(10);
  });
  CHECK(text.find("\r\033[Krun epoch 1\r\n\r\033[?7l") != std::string::npos);
  CHECK(text.ends_with("\r\033[K"));
}

TEST_CASE("progress: a dumb terminal has plain lines, a quiet program none") {
  const std::string dumb = written(80, [](int) {
    setenv("TERM", "dumb", 1);
    Progress progress("run", 0, 10, 1, false);
    progress.update(10, 0.5);
  });
  CHECK(dumb.starts_with("run step 10/10  loss 0.5000"));
  CHECK(dumb.find('\033') == std::string::npos);
  const std::string quiet = written(80, [](int) {
    be_quiet(true);
    Progress progress("run", 0, 10, 1, false);
    progress.update(10, 0.5);
    progress.note("epoch 1");
    inform("of what is going on");
  });
  CHECK(quiet.empty());
}
