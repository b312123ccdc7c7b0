#include "apps/common/measure/work_profile.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "core/stopwatch.h"

namespace sked {
namespace {

using Rows = std::vector<std::pair<std::string, WorkCount::Entry>>;

/// The longest first; of the same length, what moves most.
Rows sorted(const WorkProfile& profile) {
  Rows rows(profile.rows.begin(), profile.rows.end());
  std::ranges::stable_sort(rows, [](const auto& a, const auto& b) {
    return std::pair(a.second.nanoseconds, a.second.bytes) > std::pair(b.second.nanoseconds, b.second.bytes);
  });
  return rows;
}

WorkCount::Entry sum(const WorkProfile& profile) {
  WorkCount::Entry sum;
  for (const auto& [name, entry] : profile.rows) sum += entry;
  return sum;
}

/// `amount` billions a second; 0 where there was no time.
double giga_per_second(int64_t amount, const WorkCount::Entry& e) {
  return e.nanoseconds > 0 ? static_cast<double>(amount) / static_cast<double>(e.nanoseconds) : 0;
}

double share(const WorkCount::Entry& e, const WorkCount::Entry& all) {
  return all.nanoseconds > 0 ? static_cast<double>(e.nanoseconds) / static_cast<double>(all.nanoseconds) : 0;
}

/// `value` right-aligned, blank for 0.
std::string cell(double value, int width, int digits) {
  char text[64];
  if (value == 0) return std::string(static_cast<size_t>(width), ' ');
  std::snprintf(text, sizeof text, "%*.*f", width, digits, value);
  return text;
}

std::string line(const std::string& name, const WorkCount::Entry& e, const WorkCount::Entry& all) {
  char text[160];
  std::snprintf(text, sizeof text, "  %-30s %6lld %10.3f %6.1f%% ", name.c_str(), static_cast<long long>(e.calls),
                e.seconds() * 1e3, 100 * share(e, all));
  return text + cell(giga_per_second(e.operations, e), 8, 1) + cell(static_cast<double>(e.launches), 9, 0) +
         cell(static_cast<double>(e.bytes) * 1e-6, 12, 3) + cell(giga_per_second(e.bytes, e), 8, 1) + "\n";
}

Json json_of(const WorkCount::Entry& e, const WorkCount::Entry& all) {
  Json row = {{"calls", e.calls},           {"launches", e.launches}, {"operand_bytes", e.bytes},
              {"operations", e.operations}, {"seconds", e.seconds()}, {"share", share(e, all)}};
  if (e.operations > 0) row["gflops"] = giga_per_second(e.operations, e);
  if (e.bytes > 0) row["gigabytes_per_second"] = giga_per_second(e.bytes, e);
  return row;
}

}  // namespace

WorkProfile profiled(Device device, const std::function<void()>& work, WorkCount::Listener listener) {
  memory(device).synchronize();
  WorkProfile profile;
  const Stopwatch watch;
  {
    const WorkCount count(nanoseconds_now, std::move(listener));
    work();
    memory(device).synchronize();
    const int64_t between = count.between();
    profile.rows = count.entries();
    profile.rows[kBetweenKernels].nanoseconds = between;
  }
  profile.seconds = watch.seconds();
  return profile;
}

const WorkProfile& median_profile(const std::vector<WorkProfile>& profiles) {
  std::vector<const WorkProfile*> list;
  for (const WorkProfile& p : profiles) list.push_back(&p);
  std::ranges::stable_sort(list, {}, [](const WorkProfile* p) { return p->seconds; });
  return *list[(list.size() - 1) / 2];
}

std::string profile_table(const WorkProfile& profile) {
  char head[160];
  std::snprintf(head, sizeof head, "  %-30s %6s %10s %7s %8s%9s%12s%8s\n", "kernel", "calls", "ms", "share", "GFLOP/s",
                "launches", "operand MB", "GB/s");
  std::string table = head;
  const WorkCount::Entry all = sum(profile);
  for (const auto& [name, entry] : sorted(profile)) table += line(name, entry, all);
  return table + line("total", all, all);
}

void put_profile(Json& object, const WorkProfile& profile) {
  const WorkCount::Entry all = sum(profile);
  Json list = Json::array();
  for (const auto& [name, entry] : sorted(profile)) {
    Json row = {{"kernel", name}};
    row.update(json_of(entry, all));
    list.push_back(std::move(row));
  }
  object["work"] = std::move(list);
  object["work_total"] = json_of(all, all);
}

}  // namespace sked
