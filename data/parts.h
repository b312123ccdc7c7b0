#pragma once
// Where the parts of a collection, its training and test files, lie in its folder.

#include <array>
#include <optional>
#include <string>
#include <vector>

namespace sked {

// What people call them.
constexpr std::array<const char*, 2> kTrainNames{"train", "training"};
/// Shards of the last two begin with `val` as well.
constexpr std::array<const char*, 6> kTestNames{"test", "testing", "val", "dev", "valid", "validation"};
/// The first there is of these that is not the test part.
constexpr std::array<const char*, 4> kValidationNames{"validation", "valid", "val", "dev"};

bool is_folder(const std::string& path);
/// What lies in a folder, sorted; nothing where there is none. Without names that begin with a dot. Throws Error where
/// it cannot be read.
std::vector<std::string> names_in(const std::string& folder);
/// Paths of the folders in `folder` that are called `name`, in whatever case: `Train` for train; the one that is
/// written so first.
std::vector<std::string> folders_called(const std::string& folder, const std::string& name);
/// The folder in `folder` that is called as one of kTrainNames; nothing where there is none.
std::optional<std::string> training_folder(const std::string& folder);

/// Paths of the shards of a part, sorted: `<folder>/train*.tar` and `<folder>/…-train*.tar` (in whatever case, also
/// .tar.gz and .tgz; of several that differ in this alone the first), or else all in `<folder>/train`. Throws Error for
/// one that is compressed in another way (saying how to unpack it) unless it lies there in one of these, too.
std::vector<std::string> shards_of(const std::string& folder, const std::string& part);

/// Paths of shards in `folder` that a download has not finished, by the names that downloaders give them: `x.tar.part`.
std::vector<std::string> unfinished_shards(const std::string& folder);

}  // namespace sked
