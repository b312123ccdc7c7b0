#include "apps/predict/files.h"

#include "core/error.h"
#include "core/file.h"
#include "core/fingerprint.h"

namespace sked {

static int64_t address_of(const void* bytes, size_t count) {
  Fingerprint f;
  f.add(bytes, count);
  return static_cast<int64_t>((f.value() ^ f.value() >> 32) & 0xFFFFFFFFu);  // 32 bits count
}

std::vector<ImageFile> readable(const std::vector<std::string>& paths, const Refuse& refuse) {
  std::vector<ImageFile> files;
  for (const std::string& path : paths) {
    try {
      const std::string bytes = read_file(path, uint64_t{1} << 30);
      files.push_back({path, address_of(bytes.data(), bytes.size())});
    } catch (const Error& error) {
      refuse(error.what());
    }
  }
  return files;
}

std::vector<ImageFile> rows_of(const Dataset& vectors) {
  std::vector<ImageFile> rows;
  for (int64_t i = 0; i < vectors.size(); ++i) {
    const Tensor x = vectors.image(i);
    rows.push_back({vectors.id(i), address_of(x.raw(), x.bytes())});
  }
  return rows;
}

}  // namespace sked
