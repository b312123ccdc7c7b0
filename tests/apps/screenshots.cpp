// The report and the page of predictions in a browser: on a screen and a phone, light and dark, and on paper.

#include <doctest/doctest.h>

#include <regex>
#include <sstream>

#include "data/image_file.h"
#include "tests/apps/plans.h"
#include "tests/common/shell.h"

using namespace sked;
using namespace sked::test;

namespace {

/// What a page said of itself in a frame of some width.
struct Measured {
  std::string words;  // `width of the content, width of the frame, dark?, errors, words in each other's way`
  std::string log;    // what the browser said
};

class Browser {
 public:
  explicit Browser(const TemporaryFolder& folder) : folder_(folder) {}
  static bool is_here() { return shell("command -v chromium").code == 0; }

  std::string run(const std::string& options, const std::string& page) const {
    return shell("timeout 30 chromium --headless --no-sandbox --disable-gpu --no-first-run --enable-logging=stderr " +
                 ("--user-data-dir='" + folder_.path("profile") + "' " + options + " 'file://" + page + "'"))
        .text;
  }

  /// Of a copy of the page that says it by a script of its own.
  Measured measure(const std::string& page, int width, bool dark) const {
    static const std::string kScript =
        "<script>let errors=0;addEventListener('error',()=>++errors,true);"
        // Texts of a chart that overlap another one or leave the chart.
        "function inTheWay(){let n=0;for(const svg of document.querySelectorAll('.charts svg')){"
        "const frame=svg.getBoundingClientRect(),all=[...svg.querySelectorAll('text')].map(t=>"
        "t.getBoundingClientRect());all.forEach((a,i)=>{if(a.left<frame.left-1||a.right>frame.right+1)++n;"
        "for(const b of all.slice(i+1))if(a.left<b.right-1&&b.left<a.right-1&&a.top<b.bottom-2&&b.top<a.bottom-2)++n})"
        "}return n}"
        "addEventListener('load',()=>parent.postMessage([document.documentElement.scrollWidth,innerWidth,"
        "matchMedia('(prefers-color-scheme: dark)').matches,errors,inTheWay()].join(' '),'*'))</script>";
    std::string copy = page;
    copy.insert(copy.find("<meta"), kScript);
    folder_.write("copy.html", copy);
    const std::string frame = folder_.write(
        "frame.html",
        "<!doctype html><html><script>addEventListener('message',e=>document.body.append('MEASURED '+e.data+'!'))"
        "</script><body><iframe src='copy.html' style='width:" +
            std::to_string(width) + "px;height:900px;border:0'></iframe></body></html>");
    const std::string log =
        run("--window-size=1400,1000 --blink-settings=preferredColorScheme=" + std::string(dark ? "0" : "1") +
                " --virtual-time-budget=3000 --dump-dom",
            frame);
    std::smatch match;
    const std::regex words("MEASURED ([0-9a-z ]+)!");
    return {std::regex_search(log, match, words) ? match[1].str() : "", log};
  }

 private:
  const TemporaryFolder& folder_;
};

/// On a screen and on a phone, light and dark.
void check_fits(const Browser& browser, const std::string& page) {
  for (const int width : {1280, 390}) {
    for (const bool dark : {false, true}) {
      CAPTURE(width);
      CAPTURE(dark);
      const Measured m = browser.measure(page, width, dark);
      std::istringstream words(m.words);
      int content = 0, frame = 0, errors = -1, in_the_way = -1;
      std::string is_dark;
      words >> content >> frame >> is_dark >> errors >> in_the_way;
      CHECK_MESSAGE(frame == width, m.log);
      CHECK(content > 0);
      CHECK(content <= width);  // nothing to scroll to the side but tables within their frames
      CHECK(is_dark == (dark ? "true" : "false"));
      CHECK(errors == 0);
      CHECK(in_the_way == 0);
      CHECK_FALSE(has(m.log, "CONSOLE"));
    }
  }
}

void check_prints(const Browser& browser, const TemporaryFolder& folder, const std::string& file) {
  const std::string pdf = folder.path("printed.pdf");
  browser.run("--no-pdf-header-footer --print-to-pdf='" + pdf + "'", file);
  const std::string printed = slurp(pdf);
  CHECK(printed.starts_with("%PDF"));
  CHECK(has(printed, "/MediaBox [0 0 59"));  // 595 × 842 points
}

/// Everything of the page that a browser would fetch or follow.
std::vector<std::string> addresses(const std::string& page) {
  std::vector<std::string> found;
  const std::regex attribute("(src|href|srcset|action|data)=[\"']([^\"']*)[\"']|url\\(([^)]*)\\)|(@import)");
  for (std::sregex_iterator i(page.begin(), page.end(), attribute), end; i != end; ++i)
    found.push_back((*i)[2].str() + (*i)[3].str() + (*i)[4].str());
  return found;
}

/// Is all of it in the page's own file, or linked beside it?
void check_asks_nobody(const std::string& page) {
  for (const std::string& address : addresses(page)) {
    CAPTURE(address.substr(0, 80));
    CHECK((address.starts_with("data:image/") || address.starts_with("#") ||
           (address.find(':') == std::string::npos && !address.starts_with("/"))));
  }
}

}  // namespace

TEST_CASE("screenshots: the report fits a screen, a phone and A4, light and dark, and asks nobody for anything") {
  if (!Browser::is_here()) return skip("chromium is not installed");
  const Workplace place;
  const Outcome outcome = run_program(place.command("out", {"--seed", "0", "--set", "train.steps=2"}));
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  const std::string file = place.folder.path("out/report.html"), page = slurp(file);
  check_asks_nobody(page);
  const Browser browser(place.folder);
  check_fits(browser, page);
  check_prints(browser, place.folder, file);
}

TEST_CASE("screenshots: predict's page fits a screen, a phone and A4, light and dark, and asks nobody for anything") {
  if (!Browser::is_here()) return skip("chromium is not installed");
  if (!can_decode_images()) return skip("built without image libraries");
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  const std::string run = train_run(folder, tiny_config(folder.path("data")), "run");
  std::vector<std::string> command{"predict", run, "--html", folder.path("page.html")};
  for (const auto& [name, shape] :
       {std::pair("a photograph of some width.png", Shape{60, 900, 3}), {"b.png", {8, 8, 3}}}) {
    command.push_back(folder.path(name));
    write_png(command.back(), Tensor::full(shape, 90, DType::u8));
  }
  const Outcome outcome = run_program(command);
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  const std::string file = folder.path("page.html"), page = slurp(file);
  check_asks_nobody(page);
  const Browser browser(folder);
  check_fits(browser, page);
  check_prints(browser, folder, file);
}

TEST_CASE("screenshots: a study's page fits a screen, a phone and A4, light and dark, and asks nobody for anything") {
  if (!Browser::is_here()) return skip("chromium is not installed");
  const TemporaryFolder folder;
  std::string results = library_json(slurp("tests/fixtures/study.json"))["results"].dump();
  const std::string name = "\"claimed 2\"", long_name = "\"MLP 256, 5,000 rows, 60 epochs, instance 40 %, K = 1,000\"";
  for (size_t at = 0; (at = results.find(name, at)) != results.npos; at += long_name.size())
    results.replace(at, name.size(), long_name);
  folder.write("plan/results.json", results);
  const Outcome outcome = run_program({"replicate", "--report", folder.path()});
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  const std::string file = folder.path("study.html");
  std::string page = slurp(file);
  check_asks_nobody(page);
  const Browser browser(folder);
  check_fits(browser, page);
  check_prints(browser, folder, file);
  for (size_t at = 0; (at = page.find("<details>", at)) != page.npos;) page.replace(at, 9, "<details open>");
  check_fits(browser, page);
}
