// Hostile image files, given to predict under a tracer of system calls: they are refused, and between the opening of
// such a file and the end of the program nothing else is opened and no socket is made.
//
// The kind: a text that a library behind many decoders (GDAL) takes for a virtual raster, and which names other files
// and addresses to read pixels from, dressed as an image of each format.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <optional>

#include "core/file.h"
#include "core/safetensors.h"
#include "data/image_file.h"
#include "tests/apps/support.h"

using namespace sked;
using namespace sked::test;

namespace {

struct Traced {
  int code = -1;
  std::string err;
  std::vector<std::string> calls;  // `open <path>`, `socket`, `execve <path>`, in order
  int64_t peak_kilobytes = 0;
};

/// The text at an address of a stopped process.
std::string text_of(pid_t process, uint64_t address) {
  std::string text;
  for (char c = 0; text.size() < 4096; text += c) {
    iovec here{&c, 1}, there{reinterpret_cast<void*>(address + text.size()), 1};
    if (process_vm_readv(process, &here, 1, &there, 1, 0) != 1 || c == '\0') break;
  }
  return text;
}

/// What a system call that begins opens; nothing for all others.
std::optional<std::string> opening(pid_t process, const __ptrace_syscall_info& call) {
  const auto& args = call.entry.args;
  switch (call.entry.nr) {
    case SYS_openat:
    case SYS_openat2:
      return "open " + text_of(process, args[1]);
#ifdef SYS_open  // not on every machine
    case SYS_open:
    case SYS_creat:
      return "open " + text_of(process, args[0]);
#endif
    case SYS_execve:
    case SYS_execveat:
      return "execve";
    case SYS_socket:
    case SYS_connect:
      return "socket";
    default:
      return std::nullopt;
  }
}

/// Follows all threads and processes that come of `child`, which is stopped before its program begins.
void follow(pid_t child, Traced& traced) {
  constexpr auto kSystemCall = static_cast<unsigned>(SIGTRAP | 0x80);
  const auto go_on = [](pid_t process, int signal) {
    ptrace(PTRACE_SYSCALL, process, nullptr, reinterpret_cast<void*>(static_cast<intptr_t>(signal)));
  };
  go_on(child, 0);
  for (;;) {
    int status = 0;
    rusage usage{};
    const pid_t process = wait4(-1, &status, __WALL, &usage);
    if (process < 0) return;
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
      if (process != child) continue;
      traced.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      traced.peak_kilobytes = usage.ru_maxrss;
      continue;
    }
    const int signal = WSTOPSIG(status);
    if (static_cast<unsigned>(signal) == kSystemCall) {
      __ptrace_syscall_info call{};
      ptrace(PTRACE_GET_SYSCALL_INFO, process, reinterpret_cast<void*>(sizeof call), &call);
      if (call.op == PTRACE_SYSCALL_INFO_ENTRY)
        if (auto what = opening(process, call)) traced.calls.push_back(*what);
      go_on(process, 0);
    } else {  // the stops of new threads and of the tracer's own events are no signals
      go_on(process, signal == SIGTRAP || signal == SIGSTOP ? 0 : signal);
    }
  }
}

/// Runs build/<words[0]> under the tracer; nothing where this machine does not let processes be traced.
std::optional<Traced> trace(std::vector<std::string> words) {
  words[0] = build_folder() + "/" + words[0];
  words.insert(words.end(), {"--device", "cpu"});
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const TemporaryFolder folder;
  const std::string log = folder.path("stderr");
  const pid_t child = fork();
  require(child >= 0, "test", "cannot fork");
  if (child == 0) {
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1);  // leaks are looked for by tracing, too
    const int err = open(log.c_str(), O_CREAT | O_WRONLY, 0600), out = open("/dev/null", O_WRONLY);
    dup2(err, STDERR_FILENO);
    dup2(out, STDOUT_FILENO);
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(126);
    raise(SIGSTOP);
    execv(argv[0], argv.data());
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFSTOPPED(status)) return std::nullopt;
  const auto options = static_cast<uintptr_t>(PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
                                              PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL);
  __ptrace_syscall_info call{};
  const bool can = ptrace(PTRACE_SETOPTIONS, child, nullptr, reinterpret_cast<void*>(options)) == 0 &&
                   ptrace(PTRACE_GET_SYSCALL_INFO, child, reinterpret_cast<void*>(sizeof call), &call) > 0;
  if (!can) {
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return std::nullopt;
  }
  Traced traced;
  follow(child, traced);
  traced.err = slurp(log);
  return traced;
}

/// What follows the first opening of `path`, without further ones of it; nothing where it was not opened.
std::optional<std::vector<std::string>> calls_behind(const Traced& traced, const std::string& path) {
  const auto first = std::find(traced.calls.begin(), traced.calls.end(), "open " + path);
  if (first == traced.calls.end()) return std::nullopt;
  std::vector<std::string> rest(first, traced.calls.end());
  std::erase(rest, "open " + path);
  return rest;
}

/// A virtual raster of 5 x 5 pixels (or as many as asked) of another file or address.
std::string raster_of(const std::string& source, const std::string& size = "5") {
  std::string text = "<VRTDataset rasterXSize=\"" + size + "\" rasterYSize=\"" + size + "\">";
  for (const char* color : {"Red", "Green", "Blue"}) {
    text += std::string("<VRTRasterBand dataType=\"Byte\"><ColorInterp>") + color +
            "</ColorInterp><SimpleSource><SourceFilename relativeToVRT=\"0\">" + source +
            "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>";
  }
  return text + "</VRTDataset>\n";
}

/// Name and bytes; the raster in the dress of each format that has one, and what else GDAL has drivers for.
std::map<std::string, std::string> hostile_files(const std::string& other) {
  using namespace std::string_literals;
  const std::string raster = raster_of(other), remote = raster_of("/vsicurl/http://127.0.0.1:9/x.png");
  std::string dted = "P55 5 <!-- ";
  dted += std::string(140 - dted.size(), ' ') + "DTED -->";
  const auto riff = [&](const std::string& chunk) {
    const std::string body = "WEBP" + chunk + "\x00\x01\x00\x00"s + raster;
    return "RIFF" + std::string{static_cast<char>(body.size()), static_cast<char>(body.size() >> 8), 0, 0} + body;
  };
  // A WebP file down to the size in its frame header, but its frame is none to begin with. GDAL takes it for a text: no
  // byte of it is 0, which makes 16 MB of it, by its lengths.
  const size_t inside = raster.find('>') + 1;
  std::string frame = "RIFF\x01\x01\x02\x01WEBPVP8 \x01\x01\x01\x01\x31\x01\x01\x9d\x01\x2a\x05\x01\x05\x01 ";
  frame += raster.substr(0, inside) + "<!-- ";
  frame += std::string(140 - frame.size(), ' ') + "DTED -->" + raster.substr(inside);
  frame.resize(0x01020101 + 8, ' ');
  return {
      {"p55.jpg", dted + raster},
      {"p6.ppm", "P6\n" + raster},
      {"net.jpg", dted + remote},
      {"bomb.jpg", dted + raster_of(other, "30000")},
      {"frame.webp", frame},
      {"lossy.webp", riff("VP8 ")},
      {"lossless.webp", riff("VP8L")},
      {"extended.webp", riff("VP8X")},
      {"b.bmp", "BM" + raster},
      {"g.gif", "GIF87a" + raster},
      {"t.tif", "II*\0"s + raster},
      {"m.tif", "MM\0*"s + raster},
      {"big.tif", "II+\0"s + raster},
      {"p.png", "\x89PNG\r\n\x1a\n" + raster},
      {"j.jpg", "\xff\xd8\xff" + raster},
      {"raster.jpg", raster},
      {"drawing.jpg", "<svg xmlns:xlink=\"x\"><image xlink:href=\"" + other + "\"/></svg>"},
      {"page.jpg", "<?xml version=\"1.0\"?><!DOCTYPE x [<!ENTITY e SYSTEM \"" + other + "\">]><x>&e;</x>"},
      {"wms.jpg", "<GDAL_WMS><Service name=\"TMS\"><ServerUrl>http://127.0.0.1:9/</ServerUrl></Service></GDAL_WMS>"},
      {"hdf5.jpg", "\x89HDF\r\n\x1a\n" + raster},
      {"netcdf.jpg", "CDF\1" + raster},
      {"pdf.jpg", "%PDF-1.4\n" + raster},
      {"list.jpg", other + "\n"}};
}

}  // namespace

TEST_CASE("predict: a hostile image opens nothing") {
  if (!can_decode_images()) return skip("built without image libraries");
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  RunConfig config = tiny_config(folder.path("data"));
  config.train.epochs = 1;
  write_file(folder.path("config.json"), config_text(config));
  const std::string run = folder.path("run");
  REQUIRE(run_program({"train", "--config", folder.path("config.json"), "--out", run}).code == 0);
  const auto png = load_safetensors("tests/fixtures/images.safetensors").at("file/png").to_vector<uint8_t>();
  const std::string good = folder.write("good.png", {reinterpret_cast<const char*>(png.data()), png.size()});
  const std::string other = folder.write("other.png", slurp(good));

  // The tracer sees what is to be seen: an image, and a second one behind it.
  const auto honest = trace({"predict", run, good, other});
  if (!honest) return skip("processes cannot be traced here (ptrace)");
  CHECK_MESSAGE(honest->code == 0, honest->err);
  const auto seen = calls_behind(*honest, good);
  REQUIRE(seen);
  CHECK(std::ranges::count(*seen, "open " + other) > 0);
  CHECK_FALSE(calls_behind(*honest, folder.path("none.png")));

  for (const auto& [name, bytes] : hostile_files(other)) {
    CAPTURE(name);
    const std::string path = folder.write(name, bytes);
    const auto traced = trace({"predict", run, path});
    REQUIRE(traced);
    CHECK(traced->code == 1);
    CHECK(one_line_with(traced->err.substr(0, traced->err.find('\n')), "error: ", name));
    CHECK(std::count(traced->err.begin(), traced->err.end(), '\n') == 1);
    CHECK(calls_behind(*traced, path) == std::vector<std::string>{});
    CHECK(traced->peak_kilobytes < honest->peak_kilobytes + (64 << 10));  // the largest of them is 17 MB
  }
}
