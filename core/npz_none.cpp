// The build without libzip (LIBZIP=0).
#include "core/error.h"
#include "core/npz.h"

namespace sked {

TensorFile load_npz(const std::string& path) {
  fail("load_npz", "cannot read ", path, ": built without libzip: install libzip-dev and build again (or in Python: ",
       "safetensors.numpy.save_file(dict(numpy.load(FILE)), OUT))");
}

}  // namespace sked
