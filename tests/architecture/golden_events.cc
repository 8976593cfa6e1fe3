#include "golden_events.h"

#include <fstream>
#include <set>
#include <sstream>
#include <stdexcept>

#include "trunkline/v1/group.pb.h"
#include "trunkline/v1/instance.pb.h"
#include "trunkline/v1/platform.pb.h"
#include "trunkline/v1/usage.pb.h"

namespace trunkline::golden {
namespace {

namespace pb = google::protobuf;
using Field = pb::FieldDescriptor;

struct Aggregate {
  const char* name;
  const pb::Message& event;
};
const Aggregate kAggregates[] = {
    {"instance", v1::InstanceEvent::default_instance()},
    {"group", v1::GroupEvent::default_instance()},
    {"host", v1::HostEvent::default_instance()},
    {"version", v1::VersionEvent::default_instance()},
    {"token", v1::TokenEvent::default_instance()},
    {"quota", v1::QuotaEvent::default_instance()},
    {"usage", v1::UsageEvent::default_instance()},
    {"pricelist", v1::PriceListEvent::default_instance()},
    {"webhook", v1::WebhookEvent::default_instance()},
};

// Numbers from the field's place, so that no two fields of a message look alike.
void set_scalar(pb::Message& message, const Field* field, int seed) {
  const pb::Reflection& to = *message.GetReflection();
  const bool many = field->is_repeated();
  const auto text = field->name() + "-" + std::to_string(seed);
  switch (field->cpp_type()) {
    case Field::CPPTYPE_INT32:
      many ? to.AddInt32(&message, field, seed) : to.SetInt32(&message, field, seed);
      return;
    case Field::CPPTYPE_INT64:
      many ? to.AddInt64(&message, field, seed) : to.SetInt64(&message, field, seed);
      return;
    case Field::CPPTYPE_UINT32:
      many ? to.AddUInt32(&message, field, seed) : to.SetUInt32(&message, field, seed);
      return;
    case Field::CPPTYPE_UINT64:
      many ? to.AddUInt64(&message, field, seed) : to.SetUInt64(&message, field, seed);
      return;
    case Field::CPPTYPE_DOUBLE:
      many ? to.AddDouble(&message, field, seed) : to.SetDouble(&message, field, seed);
      return;
    case Field::CPPTYPE_FLOAT:
      many ? to.AddFloat(&message, field, seed) : to.SetFloat(&message, field, seed);
      return;
    case Field::CPPTYPE_BOOL:
      many ? to.AddBool(&message, field, true) : to.SetBool(&message, field, true);
      return;
    case Field::CPPTYPE_ENUM: {
      const int last = field->enum_type()->value_count() - 1;
      const int value = field->enum_type()->value(last)->number();
      many ? to.AddEnumValue(&message, field, value) : to.SetEnumValue(&message, field, value);
      return;
    }
    case Field::CPPTYPE_STRING:
      many ? to.AddString(&message, field, text) : to.SetString(&message, field, text);
      return;
    case Field::CPPTYPE_MESSAGE: throw std::logic_error("not a scalar");
  }
}

void fill(pb::Message& message, int seed) {
  const pb::Reflection& reflection = *message.GetReflection();
  const pb::Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const Field* field = type.field(i);
    const int elements = field->is_repeated() ? 2 : 1;
    for (int n = 0; n < elements; ++n) {
      const int value = seed * 20 + field->number() + n * 1000;
      if (field->cpp_type() != Field::CPPTYPE_MESSAGE) {
        set_scalar(message, field, value);
      } else if (field->is_repeated()) {
        fill(*reflection.AddMessage(&message, field), value);
      } else {
        fill(*reflection.MutableMessage(&message, field), value);
      }
    }
  }
}

// Paths of all fields below `type`, messages within messages included.
void collect_paths(const pb::Descriptor& type, const std::string& prefix,
                   std::set<std::string>& out) {
  for (int i = 0; i < type.field_count(); ++i) {
    const Field* field = type.field(i);
    out.insert(prefix + field->name());
    if (field->cpp_type() == Field::CPPTYPE_MESSAGE) {
      collect_paths(*field->message_type(), prefix + field->name() + ".", out);
    }
  }
}

void erase_set_paths(const pb::Message& message, const std::string& prefix,
                     std::set<std::string>& out) {
  const pb::Reflection& reflection = *message.GetReflection();
  std::vector<const Field*> set;
  reflection.ListFields(message, &set);
  for (const Field* field : set) {
    const std::string path = prefix + field->name();
    out.erase(path);
    if (field->cpp_type() != Field::CPPTYPE_MESSAGE) continue;
    const int elements = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    for (int n = 0; n < elements; ++n) {
      erase_set_paths(field->is_repeated() ? reflection.GetRepeatedMessage(message, field, n)
                                           : reflection.GetMessage(message, field),
                      path + ".", out);
    }
  }
}

}  // namespace

std::unique_ptr<pb::Message> EventType::new_event() const {
  for (const Aggregate& one : kAggregates) {
    if (aggregate == one.name) return std::unique_ptr<pb::Message>(one.event.New());
  }
  throw std::logic_error("no aggregate " + aggregate);
}

std::vector<EventType> all_event_types() {
  std::vector<EventType> types;
  for (const Aggregate& aggregate : kAggregates) {
    const pb::OneofDescriptor* body = aggregate.event.GetDescriptor()->FindOneofByName("body");
    for (int i = 0; i < body->field_count(); ++i) {
      types.push_back({aggregate.name, body->field(i)});
    }
  }
  return types;
}

std::vector<std::filesystem::path> files_of(const EventType& type,
                                            const std::filesystem::path& root) {
  std::vector<std::filesystem::path> files;
  for (int number = 1;; ++number) {
    std::string name = type.name();
    if (number > 1) name += "." + std::to_string(number);
    const std::filesystem::path file = root / type.aggregate / name;
    if (!std::filesystem::exists(file.string() + ".bin")) return files;
    files.push_back(file);
  }
}

std::vector<std::string> fields_never_set(const EventType& type,
                                          const std::filesystem::path& root) {
  std::set<std::string> paths;
  collect_paths(*type.member->message_type(), "", paths);
  for (const std::filesystem::path& file : files_of(type, root)) {
    const auto event = type.new_event();
    if (!event->ParseFromString(read_file(file.string() + ".bin"))) continue;
    erase_set_paths(event->GetReflection()->GetMessage(*event, type.member), "", paths);
  }
  return {paths.begin(), paths.end()};
}

std::unique_ptr<pb::Message> filled(const EventType& type) {
  auto event = type.new_event();
  fill(*event->GetReflection()->MutableMessage(event.get(), type.member), 1);
  return event;
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) throw std::runtime_error(path.string() + ": cannot be read");
  return text.str();
}

}  // namespace trunkline::golden
