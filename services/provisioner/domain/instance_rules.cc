#include "provisioner/domain/instance_rules.h"

#include <algorithm>
#include <string>

#include "base/digest.h"
#include "base/name_rules.h"

namespace trunkline::provisioner {
namespace {

Rejection bad_value(std::string rule, std::string message) {
  return reject(RejectionBlame::bad_value, std::move(rule), std::move(message));
}

Broken check_range(std::string_view field, std::string_view unit, uint32_t value, uint32_t min,
                   uint32_t max) {
  if (value >= min && value <= max) return std::nullopt;
  return bad_value(std::string(field) + "_out_of_range",
                   std::string(field) + " must be from " + std::to_string(min) + " to " +
                       std::to_string(max) + std::string(unit) + ", not " + std::to_string(value));
}

// Characters of well-formed UTF-8 without control characters; nothing if it is something else.
std::optional<size_t> count_characters(std::string_view text) {
  size_t count = 0;
  for (size_t i = 0; i < text.size(); ++count) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead < 0x20 || lead == 0x7f) return std::nullopt;
    const size_t length = lead < 0x80              ? 1
                          : (lead & 0xe0) == 0xc0 ? 2
                          : (lead & 0xf0) == 0xe0 ? 3
                          : (lead & 0xf8) == 0xf0 ? 4
                                                  : 0;
    if (length == 0 || i + length > text.size()) return std::nullopt;
    for (size_t k = 1; k < length; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return std::nullopt;
    }
    i += length;
  }
  return count;
}

Broken as_bad_value(std::optional<BrokenNameRule> broken) {
  if (!broken) return std::nullopt;
  return bad_value(std::move(broken->rule), std::move(broken->message));
}

}  // namespace

Broken check_size(const Size& size) {
  if (auto b = check_range("cpu", "", size.cpu, kMinCpu, kMaxCpu)) return b;
  if (auto b = check_range("ram", " MB", size.ram_mb, kMinRamMb, kMaxRamMb)) return b;
  return check_range("disk_size", " GB", size.disk_gb, kMinDiskGb, kMaxDiskGb);
}

Broken check_nodes(uint32_t nodes_number, uint32_t sync_replica_number) {
  if (auto b = check_range("nodes_number", "", nodes_number, kMinNodes, kMaxNodes)) return b;
  if (auto b = check_range("sync_replica_number", "", sync_replica_number, 0, kMaxSyncReplicas)) {
    return b;
  }
  if (sync_replica_number < nodes_number) return std::nullopt;
  return bad_value("sync_replica_number_too_big",
                   "sync_replica_number must be less than nodes_number, " +
                       std::to_string(sync_replica_number) + " is not less than " +
                       std::to_string(nodes_number));
}

Broken check_name(std::string_view name) {
  if (name.empty()) return bad_value("name_missing", "name must not be empty");
  const auto characters = count_characters(name);
  if (!characters) {
    return bad_value("name_malformed", "name must be UTF-8 text without control characters");
  }
  if (*characters <= kMaxNameCharacters) return std::nullopt;
  return bad_value("name_too_long", "name must have at most 255 characters");
}

Broken check_description(std::string_view description) {
  std::string flat(description);
  std::ranges::replace_if(flat, [](char c) { return c == '\n' || c == '\r' || c == '\t'; }, ' ');
  const auto characters = count_characters(flat);
  if (!characters) {
    return bad_value("description_malformed",
                     "description must be UTF-8 text without control characters");
  }
  if (*characters <= kMaxDescriptionCharacters) return std::nullopt;
  return bad_value("description_too_long", "description must have at most 4096 characters");
}

Broken check_user_name(std::string_view name) {
  return as_bad_value(check_object_user_name(name));
}

Broken check_database_name(std::string_view name) {
  return as_bad_value(check_object_database_name(name));
}

Broken check_text_form(std::string_view locale, std::string_view encoding,
                       std::string_view icu_locale) {
  const auto is_plain = [](std::string_view text) {
    constexpr std::string_view kPlain =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.@-";
    return text.size() <= 63 && text.find_first_not_of(kPlain) == std::string_view::npos;
  };
  if (!is_plain(locale)) return bad_value("locale_malformed", "locale must look like en_US.UTF-8");
  if (!is_plain(icu_locale)) {
    return bad_value("icu_locale_malformed", "icu_locale must look like de-AT");
  }
  constexpr std::array<std::string_view, 9> kEncodings = {
      "", "UTF8", "LATIN1", "LATIN2", "LATIN9", "WIN1250", "WIN1251", "WIN1252", "EUC_JP"};
  if (std::ranges::find(kEncodings, encoding) != kEncodings.end()) return std::nullopt;
  return bad_value("encoding_unknown", "encoding must be one that the API names");
}

Broken check_verifier(std::string_view verifier) {
  if (is_scram_sha256_verifier(verifier)) return std::nullopt;
  return bad_value("verifier_malformed", "scram_verifier must be a SCRAM-SHA-256 verifier");
}

Broken check_uuid(std::string_view field, std::string_view value) {
  if (canonical_uuid(value) == value) return std::nullopt;
  return bad_value("uuid_malformed", std::string(field) + " must be a lower-case UUID");
}

}  // namespace trunkline::provisioner
