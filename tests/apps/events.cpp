// metrics.jsonl for other programs: TensorBoard's event files, and a table.

#include "apps/common/run/event_file.h"

#include <csignal>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "apps/common/run/metrics_views.h"
#include "core/error.h"
#include "tests/apps/support.h"

using namespace sked;
using namespace sked::test;

namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// What the event files of a run say, without their times: the payloads of the records, checked.
std::vector<std::string> records_of(const std::string& path) {
  const std::string file = slurp(path);
  std::vector<std::string> records;
  for (size_t at = 0; at < file.size();) {
    uint64_t length = 0;
    REQUIRE(at + 12 <= file.size());
    std::memcpy(&length, file.data() + at, sizeof length);
    REQUIRE(at + 12 + length + 4 <= file.size());
    records.push_back(file.substr(at + 12 + 9, length - 9));  // behind the wall time: a key and 8 bytes
    at += 12 + length + 4;
  }
  return records;
}

}  // namespace

TEST_CASE("events: the bytes that TensorBoard's own writer has") {
  std::string png;
  for (int i = 0; i < 200; ++i) png += static_cast<char>(i);
  const std::string events = event_version(1.5) + event_start(2.25, 0) +
                             event_scalars(3, 20, {{"train/loss", 2.25}, {"train/lr", 0.1}}) +
                             event_scalars(4, int64_t{1} << 33, {{"Käfer/nll", -1e-30}}) +
                             event_image(5, 300, {"test/reliability", 200, 7, 3, png});
  CHECK(events == slurp("tests/fixtures/events.tfevents"));
  CHECK(crc32c("123456789") == 0xe3069283u);  // RFC 3720's check value
}

TEST_CASE("events: the numbers of a line, and a table of all lines") {
  const TemporaryFolder place;
  const RunFolder folder{place.path()};
  place.write("metrics.jsonl", R"({"step":1,"epoch":0.5,"split":"train","loss":2,"loader":{"wait_share":0.25}})"
                               "\nnobody's line\n"
                               R"({"step":2,"split":"validation","nll":1.5,"few_shot":[{"dataset":"a,b","count":3,)"
                               R"("results":[{"shots":5,"lambda":1,"accuracy":0.5}]}],"classes":[{"recall":1}]})"
                               "\n");
  write_metrics_table(folder);
  CHECK(lines_of(slurp(folder.metrics_table())) ==
        std::vector<std::string>{"step,split,epoch,loss,loader/wait_share,nll,\"few_shot/a,b/5\"",
                                 "1,train,0.5,2.0,0.25,,", "2,validation,,,,1.5,0.5"});

  place.write("events.out.tfevents.1.other", "somebody's own");
  place.write("events.out.tfevents.9999999999.skedastic", "of an earlier start");
  {
    EventLog log(folder, true);
    log.write(Json{{"step", 3}, {"split", "test"}, {"nll", 1}});
  }
  REQUIRE(folder.event_files().size() == 1);
  CHECK(folder.event_files()[0] == place.path("events.out.tfevents.10000000000.skedastic"));
  CHECK(std::filesystem::exists(place.path("events.out.tfevents.1.other")));
  const std::vector<std::string> records = records_of(folder.event_files()[0]);
  REQUIRE(records.size() == 5);
  CHECK(records[0] == event_version(0).substr(21, 15));
  CHECK(records[2].find("train/loader/wait_share") != std::string::npos);
  CHECK(records[3].find("validation/few_shot/a,b/5") != std::string::npos);
  CHECK(records[4].find("test/nll") != std::string::npos);
  EventLog(folder, false);
  CHECK(folder.event_files().empty());
}

TEST_CASE("events: a run that was killed and goes on says each thing once") {
  const TrainPlace place;
  REQUIRE(run_program(place.command("whole")).code == 0);
  const RunFolder run = place.run("stopped");
  const auto ready = [&] { return count_lines(run.metrics()) >= 10; };
  REQUIRE(run_program(place.command("stopped"), {.signal = SIGKILL, .when = ready}).code != 0);
  REQUIRE(run_program(place.command("stopped")).code == 0);
  for (const RunFolder& folder : {place.run("whole"), run}) {
    REQUIRE(folder.event_files().size() == 1);
    CHECK(records_of(folder.event_files()[0]).size() == 2 + count_lines(folder.metrics()));
    CHECK(lines_of(slurp(folder.metrics_table())).size() == 1 + count_lines(folder.metrics()));
  }
  REQUIRE(run_program(place.command("without", {"--set", "train.tensorboard=false"})).code == 0);
  CHECK(place.run("without").event_files().empty());
  CHECK(std::filesystem::exists(place.run("without").metrics_table()));
}
