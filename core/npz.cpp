#include "core/npz.h"

#include <zip.h>

#include <array>
#include <memory>
#include <set>

#include "core/build.h"
#include "core/error.h"
#include "core/file.h"
#include "core/npy.h"
#include "core/text.h"

namespace sked {
namespace {

const WithLibrary library(std::string("libzip ") + zip_libzip_version());

constexpr uint64_t kExpansion = 16, kSlack = uint64_t{64} << 20;  // of zeros, which compress to nothing

struct Discard {
  void operator()(zip_t* zip) const { zip_discard(zip); }
  void operator()(zip_source_t* source) const { zip_source_free(source); }
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};
using Archive = std::unique_ptr<zip_t, Discard>;
using Source = std::unique_ptr<zip_source_t, Discard>;

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

void require_npz_writer(const std::string&) {}

namespace {

/// An array as its member's bytes, which libzip reads when the archive is closed.
struct Written {
  std::string name, header;
  Tensor host;
};

void add(zip_t* archive, const Written& array, const std::string& path) {
  constexpr zip_uint16_t kFirstDate = 1 << 5 | 1;  // 1980-01-01, so that a file does not tell when it was made
  const auto check = [&](bool ok) {
    require(ok, "save_npz", "cannot write ", path, ": ", excerpt(array.name), ": ", zip_strerror(archive));
  };
  std::array<zip_buffer_fragment_t, 2> parts{};
  parts[0] = {reinterpret_cast<zip_uint8_t*>(const_cast<char*>(array.header.data())), array.header.size()};
  parts[1] = {static_cast<zip_uint8_t*>(const_cast<void*>(array.host.raw())), array.host.bytes()};
  Source source(zip_source_buffer_fragment(archive, parts.data(), array.host.bytes() > 0 ? 2 : 1, 0));
  check(source != nullptr);
  const zip_int64_t index = zip_file_add(archive, array.name.c_str(), source.get(), ZIP_FL_ENC_UTF_8);
  check(index >= 0);
  (void)source.release();  // it is the archive's
  check(zip_set_file_compression(archive, static_cast<zip_uint64_t>(index), ZIP_CM_STORE, 0) == 0);
  check(zip_file_set_dostime(archive, static_cast<zip_uint64_t>(index), 0, kFirstDate, 0) == 0);
}

/// The bytes of a whole archive, to where they belong.
void copy(zip_source_t* bytes, AtomicFile& file, const std::string& path) {
  const auto check = [&](bool ok) {
    require(ok, "save_npz", "cannot write ", path, ": ", zip_error_strerror(zip_source_error(bytes)));
  };
  check(zip_source_open(bytes) == 0);
  std::vector<char> piece(1 << 20);
  for (zip_int64_t got = 1; got > 0;) {
    got = zip_source_read(bytes, piece.data(), piece.size());
    check(got >= 0);
    file.write(piece.data(), static_cast<size_t>(got));
  }
  zip_source_close(bytes);
}

}  // namespace

void save_npz(const std::string& path, const std::vector<NamedTensor>& tensors) {
  std::vector<Written> arrays;
  for (const auto& [name, tensor] : tensors) {
    require(stays_below(name), "save_npz", path, ": expected the name of an array, got ", excerpt(name));
    arrays.push_back({name + ".npy", npy_header(tensor, path + ": " + excerpt(name)), tensor.to(Device::cpu)});
  }
  AtomicFile file(path);
  const Source bytes(zip_source_buffer_create(nullptr, 0, 0, nullptr));
  Archive archive(bytes ? zip_open_from_source(bytes.get(), ZIP_TRUNCATE, nullptr) : nullptr);
  require(archive != nullptr, "save_npz", "cannot write ", path, ": not enough memory");
  zip_source_keep(bytes.get());  // one reference is the archive's
  for (const Written& array : arrays) add(archive.get(), array, path);
  require(zip_close(archive.get()) == 0, "save_npz", "cannot write ", path, ": ", zip_strerror(archive.get()));
  (void)archive.release();
  copy(bytes.get(), file, path);
  file.commit();
}

}  // namespace sked
