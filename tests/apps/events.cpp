// metrics.jsonl for other programs: TensorBoard's event files, and a table.

#include "apps/common/run/event_file.h"

#include <csignal>
#include <cstring>
#include <filesystem>
#include <set>
#include <sstream>

#include "apps/common/measure/heat_map.h"
#include "apps/common/measure/raster.h"
#include "apps/common/run/metrics_views.h"
#include "core/error.h"
#include "core/tensor.h"
#include "data/image_file.h"
#include "tests/apps/environment.h"
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

struct Picture {
  std::string head, png;  // of its record, with step and tag; the file
  Tensor pixels;
};

/// The PNG file is the last field of its record.
std::vector<Picture> pictures_of(const std::string& path) {
  std::vector<Picture> pictures;
  for (const std::string& record : records_of(path)) {
    const size_t png = record.find("\x89PNG");
    if (png == std::string::npos) continue;
    const auto* bytes = reinterpret_cast<const uint8_t*>(record.data());
    pictures.push_back(
        {record.substr(0, png), record.substr(png), decode_image({bytes + png, record.size() - png}, path)});
  }
  return pictures;
}

Color pixel(const Tensor& picture, int64_t y, int64_t x) {
  Color color = 0;
  for (int64_t c = 0; c < 3; ++c) color = color << 8 | picture.data<uint8_t>()[(y * picture.dim(1) + x) * 3 + c];
  return color;
}

size_t evaluations(const RunFolder& folder) {
  size_t count = 0;
  for (const std::string& line : lines_of(slurp(folder.metrics()))) count += line.find("\"train\"") == line.npos;
  return count;
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

TEST_CASE("events: lines of a long file are read one by one, and one that is too long is passed over") {
  const TemporaryFolder place;
  const RunFolder folder{place.path()};
  const std::string longest(size_t{1} << 24, ' ');  // with more, it is no line of ours
  place.write("metrics.jsonl", R"({"step":1,"split":"train","loss":2,"text":")" + longest + "\"}\n" +
                                   R"({"step":2,"split":"train","loss":3)" + std::string(200'000, ' ') + "}\n" +
                                   std::string(40, '[') + "\n" + R"({"step":3,"split":"train","lr":4})");
  write_metrics_table(folder);
  CHECK(lines_of(slurp(folder.metrics_table())) ==
        std::vector<std::string>{"step,split,loss,lr", "2,train,3.0,", "3,train,,4.0"});
}

TEST_CASE("events: reliability and correlation are pictures") {
  Tensor matrix = Tensor::empty({2, 2});
  for (int64_t i = 0; i < 4; ++i) matrix.data<float>()[i] = i == 0 || i == 3 ? 2.0f : -0.5f;
  const Tensor squares = heat_map_picture(matrix, 1);
  CHECK(squares.shape() == Shape{256, 256, 3});
  CHECK(pixel(squares, 68, 68) == 0xd1495b);    // beyond the limit
  CHECK(pixel(squares, 68, 188) == 0x9ebee5);   // half the limit, below zero
  CHECK(pixel(squares, 127, 127) == 0xd1495b);  // to the last pixel
  CHECK(pixel(squares, 127, 128) == 0x9ebee5);
  CHECK(pixel(squares, 3, 128) == 0xffffff);
  CHECK(heat_map_picture(Tensor::zeros({1000, 1000}), 1).shape() == Shape{266, 266, 3});
  CHECK_THROWS_AS(heat_map_picture(Tensor::zeros({2, 3}), 1), Error);
  if (!can_decode_images()) return;

  const TemporaryFolder place;
  const RunFolder folder{place.path()};
  std::string text = R"({"step":300,"split":"validation","nll":1,"reliability":[)";
  for (int i = 0; i < kReliabilityBins; ++i)
    text += std::string(i > 0 ? "," : "") + (i == 6    ? R"({"count":4,"confidence":0.45,"accuracy":0.75})"
                                             : i == 14 ? R"({"count":8,"confidence":1,"accuracy":0.5})"
                                                       : R"({"count":0})");
  text += "]}\n";
  place.write("metrics.jsonl", text + R"({"step":301,"split":"test","final":true,"reliability":[{"count":-1}]})" +
                                   "\n" + R"({"step":302,"split":"test","reliability":"mine"})" + "\n");
  EventLog log(folder, true);
  const std::vector<Picture> pictures = pictures_of(folder.event_files().at(0));
  REQUIRE(pictures.size() == 1);
  CHECK(pictures[0].head.starts_with("\x10\xac\x02"));  // step 300
  CHECK(has(pictures[0].head, "validation/reliability"));
  const Tensor& diagram = pictures[0].pixels;
  REQUIRE(diagram.shape() == Shape{304, 256, 3});
  const int64_t bin6 = 8 + 6 * 16 + 8, bin14 = 8 + 14 * 16 + 8;
  CHECK(pixel(diagram, 247, bin6) == 0x3d7dca);
  CHECK(pixel(diagram, 248 - 107, bin6) == 0x3d7dca);  // right as often as is thought
  CHECK(pixel(diagram, 248 - 109, bin6) == 0xa8c8ec);  // and more often
  CHECK(pixel(diagram, 248 - 179, bin6) == 0xa8c8ec);
  CHECK(pixel(diagram, 248 - 182, bin6) == 0xffffff);
  CHECK(pixel(diagram, 248 - 119, bin14) == 0x3d7dca);
  CHECK(pixel(diagram, 248 - 121, bin14) == 0xe58f99);  // less often
  CHECK(pixel(diagram, 8, 247) == 0x666666);            // where both are the same, to the corner
  CHECK(pixel(diagram, 247, 8) == 0x666666);
  CHECK(pixel(diagram, 200, 64) == 0xffffff);    // an empty bin
  CHECK(pixel(diagram, 277, bin6) == 0xaaaaaa);  // half as many predictions
  CHECK(pixel(diagram, 275, bin6) == 0xffffff);
  CHECK(pixel(diagram, 257, bin14) == 0xaaaaaa);
}

TEST_CASE("events: a run that was killed and goes on says each thing once") {
  const TrainPlace place;
  REQUIRE(run_program(place.command("whole")).code == 0);
  const RunFolder run = place.run("stopped");
  const auto ready = [&] { return count_lines(run.metrics()) >= 10; };
  const auto kill = [&] { return run_program(place.command("stopped"), {.signal = SIGKILL, .when = ready}); };
  REQUIRE(until_stopped(run.path, "summary.json", kill).code != 0);
  REQUIRE(run_program(place.command("stopped")).code == 0);
  for (const RunFolder& folder : {place.run("whole"), run}) {
    REQUIRE(folder.event_files().size() == 1);
    const size_t pictures = can_decode_images() ? evaluations(folder) + 1 : 0;
    CHECK(records_of(folder.event_files()[0]).size() == 2 + count_lines(folder.metrics()) + pictures);
    CHECK(lines_of(slurp(folder.metrics_table())).size() == 1 + count_lines(folder.metrics()));
  }
  if (can_decode_images()) {
    const std::vector<Picture> pictures = pictures_of(run.event_files()[0]);
    const std::vector<Picture> expected = pictures_of(place.run("whole").event_files()[0]);
    REQUIRE(expected.size() == 5);  // three epochs, the final test, its correlation
    REQUIRE(pictures.size() == expected.size());
    std::set<std::string> heads;
    for (size_t i = 0; i < pictures.size(); ++i) {
      heads.insert(pictures[i].head);
      CHECK(pictures[i].head == expected[i].head);
      CHECK(pictures[i].png == expected[i].png);
    }
    CHECK(heads.size() == pictures.size());
    CHECK(has(pictures[3].head, "final/reliability"));
    CHECK(has(pictures[4].head, "final/correlation"));
    CHECK(pictures[4].pixels.shape() == Shape{256, 256, 3});
    CHECK(pixel(pictures[4].pixels, 20, 20) == 0xd1495b);  // each class with itself
  }
  const std::string events = slurp(run.event_files()[0]);
  REQUIRE(run_program(place.command("stopped")).code == 0);  // it is finished
  CHECK(slurp(run.event_files()[0]) == events);
  REQUIRE(run_program(place.command("without", {"--set", "train.tensorboard=false"})).code == 0);
  CHECK(place.run("without").event_files().empty());
  CHECK(std::filesystem::exists(place.run("without").metrics_table()));
}
