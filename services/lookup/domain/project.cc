#include "lookup/domain/project.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>

#include "base/ids.h"
#include "lookup/domain/project_detail.h"
#include "trunkline/v1/group.pb.h"
#include "trunkline/v1/instance.pb.h"
#include "trunkline/v1/platform.pb.h"

namespace trunkline::lookup {
namespace {

constexpr uint32_t kKnownSchemaVersion = 1;

struct AggregateName {
  std::string_view name;
  Aggregate aggregate;
};
constexpr AggregateName kAggregates[] = {{"instance", Aggregate::instance},
                                         {"group", Aggregate::group},
                                         {"version", Aggregate::version},
                                         {"host", Aggregate::host},
                                         {"token", Aggregate::token},
                                         {"quota", Aggregate::quota}};

// Reads the payload into a message that is reused (its memory too). Returns what is wrong with it.
template <class Message>
std::optional<std::string> parse(const LogEvent& event, Message& message) {
  if (event.schema_version != kKnownSchemaVersion) {
    return "schema version " + std::to_string(event.schema_version) + " is not known";
  }
  if (!message.ParseFromArray(event.payload.data(), static_cast<int>(event.payload.size()))) {
    return "the payload cannot be parsed";
  }
  if (message.body_case() == Message::BODY_NOT_SET) {
    return "event type \"" + std::string(event.type) + "\" is not known";
  }
  const std::string& member =
      Message::descriptor()->FindFieldByNumber(static_cast<int>(message.body_case()))->name();
  if (member != event.type) {
    return "the payload is of type \"" + member + "\", not \"" + std::string(event.type) + "\"";
  }
  return std::nullopt;
}

template <class Message, class ViewType>
std::optional<std::string> parse_and_apply(ViewType& view, int64_t& version, const LogEvent& event,
                                           std::vector<DocKey>* touched) {
  static thread_local Message message;
  if (auto error = parse(event, message)) return error;
  if (auto error = apply(view, message, event.recorded_at, touched)) return error;
  version = event.version;
  return std::nullopt;
}

}  // namespace

std::optional<StreamRef> parse_stream(std::string_view stream) {
  const size_t dash = stream.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const std::string_view uuid = stream.substr(dash + 1);
  if (canonical_uuid(uuid) != uuid) return std::nullopt;
  for (const AggregateName& known : kAggregates) {
    if (known.name == stream.substr(0, dash)) return StreamRef{known.aggregate, uuid};
  }
  return std::nullopt;
}

bool is_not_shown(std::string_view stream) {
  constexpr std::string_view kNotShown[] = {"usage", "pricelist", "webhook"};
  const std::string_view aggregate = stream.substr(0, stream.find('-'));
  return std::find(std::begin(kNotShown), std::end(kNotShown), aggregate) != std::end(kNotShown);
}

std::string view_key(const StreamRef& stream) {
  const Aggregate owner =
      stream.aggregate == Aggregate::group ? Aggregate::instance : stream.aggregate;
  std::string key;
  for (const AggregateName& known : kAggregates) {
    if (known.aggregate == owner) key = known.name;
  }
  key += '-';
  key += stream.uuid;
  return key;
}

View make_view(const StreamRef& stream) {
  const auto with_id = [&](auto view) {
    view.id = stream.uuid;
    return View(std::move(view));
  };
  switch (stream.aggregate) {
    case Aggregate::instance:
    case Aggregate::group: return with_id(InstanceView());
    case Aggregate::version: return with_id(VersionView());
    case Aggregate::host: return with_id(HostView());
    case Aggregate::token: return with_id(TokenView());
    case Aggregate::quota: return with_id(QuotaView());
  }
  return InstanceView();
}

int64_t version_of(const View& view, Aggregate aggregate) {
  if (aggregate == Aggregate::group) return std::get<InstanceView>(view).group_version;
  return std::visit([](const auto& v) { return v.version; }, view);
}

std::optional<std::string> project(View& view, const LogEvent& event,
                                   std::vector<DocKey>* touched) {
  const auto stream = parse_stream(event.stream);
  if (!stream) return "stream \"" + std::string(event.stream) + "\" is of no known aggregate";
  const int64_t seen = version_of(view, stream->aggregate);
  if (event.version <= seen) return std::nullopt;
  if (event.version != seen + 1) {
    return "version " + std::to_string(event.version) + " follows " + std::to_string(seen);
  }
  switch (stream->aggregate) {
    case Aggregate::instance: {
      auto& instance = std::get<InstanceView>(view);
      instance.position = event.position;
      return parse_and_apply<v1::InstanceEvent>(instance, instance.version, event, touched);
    }
    case Aggregate::group: {
      auto& instance = std::get<InstanceView>(view);
      instance.position = event.position;
      return parse_and_apply<v1::GroupEvent>(instance, instance.group_version, event, touched);
    }
    case Aggregate::version: {
      auto& version = std::get<VersionView>(view);
      return parse_and_apply<v1::VersionEvent>(version, version.version, event, touched);
    }
    case Aggregate::host: {
      auto& host = std::get<HostView>(view);
      return parse_and_apply<v1::HostEvent>(host, host.version, event, touched);
    }
    case Aggregate::token: {
      auto& token = std::get<TokenView>(view);
      return parse_and_apply<v1::TokenEvent>(token, token.version, event, touched);
    }
    case Aggregate::quota: {
      auto& quota = std::get<QuotaView>(view);
      return parse_and_apply<v1::QuotaEvent>(quota, quota.version, event, touched);
    }
  }
  return std::nullopt;
}

}  // namespace trunkline::lookup
