#include "apps/common/config/ranks.h"

#include <fcntl.h>
#include <omp.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "core/error.h"
#include "core/launch.h"
#include "core/mpi.h"

namespace sked {
namespace {

constexpr double kMeeting = 1;  // seconds within which ranks fail alike

bool joined = false;
std::string prefix;

}  // namespace

bool speaks() { return launch().rank == 0; }

void let_one_rank_speak() {
  if (speaks()) return;
  const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (nowhere < 0) return;
  dup2(nowhere, STDOUT_FILENO);
  close(nowhere);
}

void join_ranks(const AppText& text) {
  const Launch here = launch();
  require_usage(text.ranks || here.size == 1, text.name, "a launcher started ",
                here.size > 1 ? std::to_string(here.size) : "several",
                " processes: expected one, as this program does not divide its work");
  joined = world().size() > 1;
  if (joined) prefix = "rank " + std::to_string(world().rank()) + ": ";
  take_own_cards();
}

void require_same_device(Device device) {
  if (!joined) return;
  const std::vector<int64_t> all = all_gather_number(world(), static_cast<int64_t>(device));
  const std::vector<std::string> reasons = all_gather_text(world(), reason_unavailable(Device::cuda));
  for (size_t r = 1; r < all.size(); ++r) {
    const size_t without = static_cast<Device>(all[r]) == Device::cpu ? r : 0;
    require(all[r] == all[0], "device", "rank ", without, " has no usable GPU (", reasons[without], "), rank ",
            r - without, " has one: expected one each, or --device cpu");
  }
}

int default_threads() {
  if (std::getenv("OMP_NUM_THREADS") != nullptr) return 0;
  return static_cast<int>(neighbors().processors);
}

int end_ranks(const std::string& error, int status, const std::function<void(const std::string&)>& say) {
  if (!joined) {
    if (speaks())
      say("error: " + error);
    else  // mpirun ends all with the first that fails: it shall not be one that is silent
      std::this_thread::sleep_for(std::chrono::duration<double>(kMeeting));
    return status;
  }
  const std::optional<int> most = meet(status, kMeeting);
  if (!most) {
    say("error: " + prefix + error);
    world().abort(status);
  }
  if (speaks()) say("error: " + error);
  return *most;
}

int end_interrupted_ranks(int status) {
  constexpr double kPatience = 5;
  if (!joined) return status;
  const std::optional<int> most = meet(status, kPatience);
  if (!most) world().abort(status);
  return *most;
}

const std::string& rank_prefix() { return prefix; }

}  // namespace sked
