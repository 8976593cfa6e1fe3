#include "api-gateway/io/password.h"

#include <unicode/usprep.h>
#include <unicode/ustring.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "base/digest.h"
#include "runtime/random.h"

namespace trunkline::gateway {
namespace {

constexpr int kIterations = 4096;  // PostgreSQL's own
constexpr size_t kSaltBytes = 16;

const UStringPrepProfile* saslprep_profile() {
  static const UStringPrepProfile* profile = [] {
    UErrorCode status = U_ZERO_ERROR;
    UStringPrepProfile* opened = usprep_openByType(USPREP_RFC4013_SASLPREP, &status);
    return U_SUCCESS(status) ? opened : nullptr;
  }();
  return profile;
}

}  // namespace

std::string sasl_prepared(const std::string& password) {
  const bool ascii = std::all_of(password.begin(), password.end(),
                                 [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (ascii || saslprep_profile() == nullptr) return password;
  UErrorCode status = U_ZERO_ERROR;
  std::vector<UChar> wide(password.size() + 1);
  int32_t wide_size = 0;
  u_strFromUTF8(wide.data(), static_cast<int32_t>(wide.size()), &wide_size, password.data(),
                static_cast<int32_t>(password.size()), &status);
  // A compatibility form can grow to 18 characters.
  std::vector<UChar> prepared(static_cast<size_t>(wide_size) * 18 + 1);
  const int32_t prepared_size =
      usprep_prepare(saslprep_profile(), wide.data(), wide_size, prepared.data(),
                     static_cast<int32_t>(prepared.size()), USPREP_DEFAULT, nullptr, &status);
  if (U_FAILURE(status) || prepared_size == 0) return password;
  std::string out(static_cast<size_t>(prepared_size) * 4 + 1, '\0');
  int32_t out_size = 0;
  u_strToUTF8(out.data(), static_cast<int32_t>(out.size()), &out_size, prepared.data(),
              prepared_size, &status);
  if (U_FAILURE(status)) return password;
  out.resize(static_cast<size_t>(out_size));
  return out;
}

std::string scram_verifier_of(const std::string& password, const std::string& seed) {
  const std::string salt = seed.empty()
                               ? runtime::random_bytes(kSaltBytes)
                               : sha256("trunkline scram salt/" + seed).substr(0, kSaltBytes);
  return scram_sha256_verifier(sasl_prepared(password), salt, kIterations);
}

}  // namespace trunkline::gateway
