#include "apps/common/measure/provenance.h"

#include <omp.h>
#include <unistd.h>

#include <ctime>
#include <fstream>

#include "core/build.h"
#include "core/text.h"

namespace sked {
namespace {

std::string host_name() {
  char name[256] = "";
  return gethostname(name, sizeof name - 1) == 0 ? valid_utf8(name) : "";
}

/// As Linux names it; empty elsewhere.
std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return valid_utf8(line.substr(colon + 2));
  }
  return "";
}

std::string utc_date() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  char text[32] = "";
  if (gmtime_r(&now, &parts) != nullptr) std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace

void visit_fields(FieldList& fields, Provenance& p) {
  fields("version", p.version);
  fields("compiler", p.compiler);
  fields("libraries", p.libraries);
  fields("host", p.host);
  fields("processor", p.processor);
  fields("threads", p.threads);
  fields("date", p.date);
}

Provenance provenance() {
  return {.version = kVersion,
          .compiler = compiler(),
          .libraries = libraries(),
          .host = host_name(),
          .processor = processor_name(),
          .threads = omp_get_max_threads(),
          .date = utc_date()};
}

}  // namespace sked
