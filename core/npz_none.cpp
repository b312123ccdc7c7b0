// The build without libzip (LIBZIP=0).
#include "core/error.h"
#include "core/npz.h"

namespace sked {

TensorFile load_npz(const std::string& path) {
  fail("load_npz", "cannot read ", path, ": built without libzip: install libzip-dev and build again (or in Python: ",
       "safetensors.numpy.save_file(dict(numpy.load(FILE)), OUT))");
}

void require_npz_writer(const std::string& path) {
  fail("save_npz", "cannot write ", path, ": built without libzip: install libzip-dev and build again, or take ",
       "another format");
}

void save_npz(const std::string& path, const std::vector<NamedTensor>&) { require_npz_writer(path); }

}  // namespace sked
