#include "core/npz.h"

#include <zip.h>

#include <memory>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/npy.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr uint64_t kExpansion = 16, kSlack = uint64_t{64} << 20;  // of zeros, which compress to nothing

struct Discard {
  void operator()(zip_t* zip) const { zip_discard(zip); }
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};
using Archive = std::unique_ptr<zip_t, Discard>;

Archive open(const std::string& path) {
  int code = 0;
  Archive archive(zip_open(path.c_str(), ZIP_RDONLY | ZIP_CHECKCONS, &code));
  if (archive) return archive;
  require(code != ZIP_ER_EXISTS, "load_npz", path, ": two arrays of one name");
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  const std::string reason = zip_error_strerror(&error);
  zip_error_fini(&error);
  fail("load_npz", path, ": ", reason);
}

/// A member: what the archive's directory says of it, checked.
struct Member {
  std::string name;
  uint64_t bytes = 0;
};

Member member(zip_t* archive, zip_uint64_t index, const std::string& path) {
  constexpr zip_uint64_t kNeeded = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
  zip_stat_t stat;
  zip_stat_init(&stat);
  require(zip_stat_index(archive, index, 0, &stat) == 0 && (stat.valid & kNeeded) == kNeeded, "load_npz", path,
          ": member ", index, ": ", zip_strerror(archive));
  std::string name = stat.name;
  constexpr std::string_view kEnding = ".npy";
  require(name.ends_with(kEnding) && stays_below(name), "load_npz", path, ": expected arrays (NAME.npy), got ",
          excerpt(name));
  require(stat.encryption_method == ZIP_EM_NONE, "load_npz", path, ": ", excerpt(name), " is encrypted");
  require(stat.comp_method == ZIP_CM_STORE || stat.comp_method == ZIP_CM_DEFLATE, "load_npz", path, ": ", excerpt(name),
          ": expected it stored or deflated, got method ", stat.comp_method);
  name.erase(name.size() - kEnding.size());
  return {name, stat.size};
}

NpyArray read(zip_t* archive, zip_uint64_t index, const std::string& what, uint64_t size) {
  const std::unique_ptr<zip_file_t, Discard> file(zip_fopen_index(archive, index, 0));
  require(file != nullptr, "load_npz", what, ": ", zip_strerror(archive));
  const auto read_some = [&](void* to, size_t count) {
    const zip_int64_t got = zip_fread(file.get(), to, count);
    require(got >= 0, "load_npz", what, " is damaged: ", zip_file_strerror(file.get()));
    return static_cast<size_t>(got);
  };
  // libzip may give less than it is asked for.
  const auto read_all = [&](void* to, size_t count) {
    size_t done = 0;
    for (size_t got = 1; done < count && got > 0; done += got)
      got = read_some(static_cast<char*>(to) + done, count - done);
    return done;
  };
  NpyArray array = read_npy({what, size, read_all});
  char beyond = 0;  // at the end libzip compares the checksum
  if (array.tensor.defined())
    require(read_some(&beyond, 1) == 0, "load_npz", what, " is damaged: longer than the archive says");
  return array;
}

}  // namespace

TensorFile load_npz(const std::string& path) {
  const uint64_t bytes = stamp_of(path).bytes;
  const Archive archive = open(path);
  const auto count = static_cast<zip_uint64_t>(zip_get_num_entries(archive.get(), 0));
  std::vector<Member> members;
  std::set<std::string> names;
  uint64_t left = kExpansion * bytes + kSlack;
  for (zip_uint64_t i = 0; i < count; ++i) {
    members.push_back(member(archive.get(), i, path));
    require(names.insert(members[i].name).second, "load_npz", path,
            ": two arrays of one name: ", excerpt(members[i].name));
    require(members[i].bytes <= left, "load_npz", path, ": its arrays are of more than ", kExpansion * bytes + kSlack,
            " bytes, too many for a file of ", bytes);
    left -= members[i].bytes;
  }
  TensorFile file;
  for (zip_uint64_t i = 0; i < count; ++i) {
    const auto& [name, size] = members[i];
    const std::string what = path + ": " + excerpt(name);
    const NpyArray array = read(archive.get(), i, what, size);
    if (array.tensor.defined()) {
      file.tensors.push_back({name, array.tensor});
      continue;
    }
    const bool no_weight =
        array.descr.size() > 1 && std::string_view("biuSUO").find(array.descr[1]) != std::string::npos;
    require(no_weight, "load_npz", what, ": expected dtype <f4, <f8, <i8, |u1 or bfloat16 (<V2), got ",
            excerpt(array.descr));
    file.skipped.push_back({name, array.descr, array.shape});
  }
  return file;
}

}  // namespace sked
