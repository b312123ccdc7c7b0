#include "tests/cuda/case_log.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <unistd.h>

namespace sked::test {
namespace {

using LibraryJson = nlohmann::ordered_json;

constexpr int kDeadDevice = 3;  // the status that tests/gpu_check.sh goes on behind

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

int64_t number(const char* name, int64_t otherwise) {
  const std::string text = variable(name);
  return text.empty() ? otherwise : std::stoll(text);
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// JSON has no word for infinities and NaN.
LibraryJson json_of(double value) {
  return std::isfinite(value) ? LibraryJson(value) : LibraryJson(std::to_string(value));
}

}  // namespace

CaseLog::CaseLog(const std::string& family)
    : family_(family),
      file_(variable("SKEDASTIC_CASES")),
      plant_(variable("SKEDASTIC_PLANT")),
      first_(number("SKEDASTIC_FIRST_CASE", 0)),
      last_(number("SKEDASTIC_LAST_CASE", std::numeric_limits<int64_t>::max())) {}

bool CaseLog::planted(const std::string& what) const {
  const std::string word = what + ":" + family_ + ":" + std::to_string(number_), list = "," + plant_ + ",";
  return list.find("," + word + ",") != std::string::npos;
}

void CaseLog::write(const std::string& members) {
  if (file_.empty()) return;
  const std::string line = members + "\n";
  std::FILE* file = std::fopen(file_.c_str(), "a");
  const bool written = file && std::fwrite(line.data(), 1, line.size(), file) == line.size();
  if ((file && std::fclose(file) != 0) || !written)
    throw std::runtime_error("SKEDASTIC_CASES=" + file_ + " cannot be written");
}

void CaseLog::begin(int64_t number, const std::string& kernel, const std::string& what) {
  number_ = number;
  kernel_ = kernel;
  what_ = what;
  began_ = now();
  write(LibraryJson{{"family", family_}, {"begin", number}, {"kernel", kernel}, {"what", what}}.dump());
  if (planted("hang")) pause();
  if (planted("crash")) std::abort();
  if (planted("dead")) setenv("CUDA_ON_HOST_DIES", "1", 1);  // means something to the emulated device alone
  if (planted("throw")) throw std::runtime_error("planted");
}

void CaseLog::compared(const Compared& c, const Closeness& closeness) {
  write(LibraryJson{{"family", family_},
                    {"number", number_},
                    {"kernel", c.kernel},
                    {"what", c.what},
                    {"way", c.way},
                    {"output", c.output},
                    {"dtype", name(c.dtype)},
                    {"ok", closeness.wrong == 0},
                    {"error", json_of(closeness.error)},
                    {"allowed", json_of(closeness.allowed)},
                    {"index", closeness.index},
                    {"got", json_of(closeness.got)},
                    {"want", json_of(closeness.want)},
                    {"wrong", closeness.wrong},
                    {"non_finite", closeness.non_finite},
                    {"seconds", now() - began_}}
            .dump());
}

void CaseLog::thrown(const std::string& error) {
  const LibraryJson line{
      {"family", family_}, {"number", number_}, {"kernel", kernel_}, {"what", what_}, {"thrown", error}};
  write(line.dump(-1, ' ', false, LibraryJson::error_handler_t::replace));  // it may quote anything
}

void CaseLog::dead() {
  write(LibraryJson{{"family", family_}, {"dead", number_}, {"kernel", kernel_}, {"what", what_}}.dump());
  std::fflush(nullptr);
  std::_Exit(kDeadDevice);
}

}  // namespace sked::test
