#include "apps/predict/files.h"

#include "core/error.h"
#include "core/file.h"
#include "core/fingerprint.h"
#include "data/skipped.h"

namespace sked {

static int64_t address_of(const void* bytes, size_t count) {
  Fingerprint f;
  f.add(bytes, count);
  return static_cast<int64_t>((f.value() ^ f.value() >> 32) & 0xFFFFFFFFu);  // 32 bits count
}

std::vector<ImageFile> readable(const std::vector<std::string>& paths, const Refuse& refuse, Communicator& ranks) {
  const Span own = span_of(std::ssize(paths), ranks.rank(), ranks.size());
  std::vector<int64_t> addresses;
  std::vector<Skipped> refused;
  for (int64_t i = own.begin; i < own.end; ++i) {
    addresses.push_back(-1);
    try {
      const std::string bytes = read_file(paths[static_cast<size_t>(i)], uint64_t{1} << 30);
      addresses.back() = address_of(bytes.data(), bytes.size());
    } catch (const Error& error) {
      refused.push_back({i, error.what()});
    }
  }
  for (const Skipped& file : all_gather_skipped(ranks, refused)) refuse(file.message);
  const Tensor all = all_gather_rows(ranks, Tensor::from(addresses, {own.size()}));
  std::vector<ImageFile> files;
  for (size_t i = 0; i < paths.size(); ++i)
    if (const int64_t address = all.data<int64_t>()[i]; address >= 0) files.push_back({paths[i], address});
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
