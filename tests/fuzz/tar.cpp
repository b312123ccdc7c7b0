// Archives and the shards in them. Checksums are set right first: no mutation would find them.
#include "data/tar.h"

#include <cstdio>
#include <vector>

#include "data/image_collection.h"
#include "tests/fuzz/fuzz.h"

namespace {

void mend_checksums(std::vector<uint8_t>& bytes) {
  for (size_t at = 0; at + 512 <= bytes.size(); at += 512) {
    uint8_t* block = bytes.data() + at;
    unsigned sum = 0;
    for (size_t i = 0; i < 512; ++i) sum += i >= 148 && i < 156 ? ' ' : block[i];
    if (sum == 8 * ' ') continue;  // a block of zeros
    std::snprintf(reinterpret_cast<char*>(block + 148), 8, "%06o", sum);
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  using namespace sked;
  std::vector<uint8_t> archive(bytes, bytes + count);
  mend_checksums(archive);
  if (count % 512 == 0) archive.resize(count + 1024, 0);
  const ClassList classes{{"cat", "dog"}, {"n1", "n2"}};
  fuzz::with_file(archive.data(), archive.size(), [](const std::string& path) {
    std::shared_ptr<ScratchFile> scratch;
    const TarList list = list_tar(path, scratch);
    for (const TarMember& member : list.members) read_member(list.archive, member);
  });
  fuzz::with_file(archive.data(), archive.size(), [](const std::string& path) { load_caption_shards("fuzz", {path}); });
  return fuzz::with_file(archive.data(), archive.size(),
                         [&](const std::string& path) { load_shards("fuzz", {path}, classes); });
}
