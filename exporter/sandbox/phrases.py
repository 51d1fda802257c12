"""Holds what made-up callers and agents say: one topic an agent, as templates over the facts of a call."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Tool:
    """Represents a call that the agent makes before it answers. `arguments` and `output` are JSON templates."""

    name: str
    arguments: str
    output: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """Holds what the caller says, what the agent looks up, and what it answers."""

    user: str
    assistant: str
    tool: Tool | None = None


@dataclass(frozen=True, slots=True)
class Topic:
    """Holds what an agent deals with. Templates name: first, last, order, date, time, amount, city, product, agent."""

    agent: str
    key: str
    instructions: str
    greeting: str
    exchanges: tuple[Exchange, ...]
    summaries: tuple[str, ...]


_STYLE = (
    "You are {agent}, the voice assistant of Harbour & Vale. Speak in short, natural sentences. Never read out "
    "identifiers longer than four characters; confirm the last four instead. Verify the caller before you share "
    "account details. If the caller asks for a person twice, hand over without further questions. "
)

TOPICS: Final = (
    Topic(
        "Mara – Front Desk",
        "order_status",
        _STYLE + "You help with deliveries, returns and opening hours. The caller is {first} {last} from {city}.",
        "Thanks for calling Harbour & Vale, this is Mara. How can I help you today?",
        (
            Exchange(
                "Hi, uh, I'm calling about my order, it still hasn't arrived.",
                "I'm sorry to hear that, {first}. I can see the {product} left our warehouse, and the carrier expects "
                "to deliver it on {date}, before {time}.",
                Tool(
                    "lookup_order",
                    '{{"order_id":"{order}"}}',
                    '{{"status":"in_transit","carrier":"Northline","eta":"{date}","items":[{{"sku":"{product}","qty":1}}]}}',
                ),
            ),
            Exchange(
                "Could you send it to my office instead? It's in {city}.",
                "Of course. I've changed the delivery address to your office in {city}. You'll get a text message as "
                "soon as the carrier has confirmed it.",
                Tool(
                    "update_address",
                    '{{"order_id":"{order}","city":"{city}","kind":"business"}}',
                    '{{"ok":true,"confirmation":"{order}-A"}}',
                ),
            ),
            Exchange(
                "And what if I don't like it, can I send it back?",
                "You can return the {product} within thirty days, free of charge. The label is in the box.",
            ),
            Exchange(
                "Okay. What time do you close on Saturdays?",
                "On Saturdays we're open from nine until {time}. On Sundays we're closed.",
            ),
        ),
        (
            "Caller asked about delayed order {order}; carrier expects delivery on {date}. Address changed to office.",
            "{first} {last} wanted to know where the {product} is. Told: in transit, due {date}. No further action.",
            "Delivery question, resolved without transfer.",
        ),
    ),
    Topic(
        "Theo – Billing",
        "billing",
        _STYLE + "You explain invoices and take payments up to $500. The caller's open balance is ${amount}.",
        "Hello, you've reached billing at Harbour & Vale. My name is Theo. What can I do for you?",
        (
            Exchange(
                "I got charged twice this month and I'd like to understand why.",
                "Let me look at that. I see two charges of ${amount}: one for the {product}, and one that is only an "
                "authorization. The second one drops off by {date}.",
                Tool(
                    "list_charges",
                    '{{"customer":"{last}","period":"current"}}',
                    '{{"charges":[{{"amount":{amount},"state":"captured"}},{{"amount":{amount},"state":"authorized"}}]}}',
                ),
            ),
            Exchange(
                "So I don't have to do anything?",
                "That's right, nothing to do. If it's still there after {date}, call us and mention case {order}.",
            ),
            Exchange(
                "Can I pay the rest in instalments?",
                "Yes. I can split ${amount} into three monthly payments without interest. The first would be due on "
                "{date}. Shall I set that up?",
                Tool(
                    "quote_installments",
                    '{{"amount":{amount},"months":3}}',
                    '{{"months":3,"interest":0.0,"first_due":"{date}"}}',
                ),
            ),
            Exchange(
                "Yes please, and send me the invoice by email.",
                "Done. The plan is active, and the invoice is on its way to the address we have on file.",
                Tool("send_invoice", '{{"invoice":"INV-{order}","channel":"email"}}', "queued"),
            ),
        ),
        (
            "Caller questioned a double charge of ${amount}. Explained pending authorization; expires {date}.",
            "Set up a three-month instalment plan for ${amount}; invoice INV-{order} sent by email.",
            "Billing question about the {product}. Caller satisfied.",
        ),
    ),
    Topic(
        "Ines – Appointments",
        "appointment",
        _STYLE + "You book, move and cancel appointments at the {city} clinic. Never give medical advice.",
        "Good day, Harbour & Vale Clinic in {city}, Inés speaking. Would you like to book or change an appointment?",
        (
            Exchange(
                "I need to move my appointment, something came up at work.",
                "No problem, {first}. I have {date} at {time}, or 9:30 the morning after. Which is better?",
                Tool(
                    "find_slots",
                    '{{"clinic":"{city}","from":"{date}","count":2}}',
                    '{{"slots":["{date} {time}","{date} 09:30"]}}',
                ),
            ),
            Exchange(
                "The first one, {time} works for me.",
                "You're booked for {date} at {time} with Dr. Okonkwo. Please come ten minutes early.",
                Tool(
                    "book_slot",
                    '{{"slot":"{date} {time}","patient":"{first} {last}"}}',
                    '{{"booking":"{order}","status":"confirmed"}}',
                ),
            ),
            Exchange(
                "¿Puede mi madre hablar en español con el doctor?",
                "Claro que sí. Lo he anotado en la cita: se atenderá en español. ¿Algo más?",
            ),
            Exchange(
                "Do I need to bring anything?",
                "Just your insurance card and a list of what you take. Parking at the {city} clinic is free.",
            ),
        ),
        (
            "Appointment of {first} {last} moved to {date} {time} ({city}).",
            "Booked {date} {time}; interpreter noted: Spanish. Booking {order}.",
            "Caller rescheduled. No medical questions.",
        ),
    ),
    Topic(
        "Jun – Tech Support",
        "tech_support",
        _STYLE + "You troubleshoot home internet. Try the restart script before you open a ticket.",
        "Hi, technical support, this is Jun. Tell me what's happening with your connection.",
        (
            Exchange(
                "The internet keeps dropping every, like, ten minutes since this morning.",
                "That sounds annoying. I'm running a test on your line right now. I see some packet loss in {city}, "
                "so it isn't only you.",
                Tool(
                    "run_line_test",
                    '{{"account":"{order}","kind":"full"}}',
                    '{{"loss":0.07,"snr_db":21.5,"area":"{city}","outage":true}}',
                ),
            ),
            Exchange(
                "I've already restarted the router, twice.",
                "Thanks for trying that. Then let's skip it. I'll refresh the line from here; the lights will blink "
                "for about a minute.",
                Tool("refresh_line", '{{"account":"{order}"}}', "line card did not answer within 20 s"),
            ),
            Exchange(
                "Nope, still blinking red. Is there someone who can come by?",
                "Yes. A technician can be with you on {date} between {time} and two hours later. It costs nothing.",
                Tool(
                    "schedule_technician",
                    '{{"account":"{order}","date":"{date}"}}',
                    '{{"visit":"{order}-T","window":"{time}"}}',
                ),
            ),
            Exchange(
                "And will I get something back for the outage?",
                "I've added a credit of ${amount} to your next invoice. Sorry again for the trouble.",
            ),
        ),
        (
            "Unstable line in {city}; area outage found. Technician on {date}. Credit of ${amount}.",
            "Packet loss 7 %. Remote refresh failed, visit scheduled ({order}-T).",
            "Caller reported outage; informed about known incident.",
        ),
    ),
    Topic(
        "Rosa – Claims Intake",
        "claim",
        _STYLE + "You take first notices of loss. Ask for date, place and damage. Never promise a payment.",
        "Claims line, my name is Rosa. First of all: is everyone safe?",
        (
            Exchange(
                "Yes, we're fine. Somebody hit my parked car in {city} last night.",
                "I'm glad nobody was hurt. I'm opening a claim for you now. Do you have photos of the damage?",
                Tool(
                    "open_claim",
                    '{{"policy":"{order}","kind":"parked_vehicle","city":"{city}"}}',
                    '{{"claim":"C-{order}","adjuster":null}}',
                ),
            ),
            Exchange(
                "I took some, and there's a police report as well.",
                "Perfect. I've sent you a link to upload both. You'll see the claim number there.",
                Tool("send_upload_link", '{{"claim":"C-{order}","via":"sms"}}', '{{"sent":true}}'),
            ),
            Exchange(
                "How long is this going to take?",
                "An adjuster calls you by {date}. Most cases like yours are closed within two weeks.",
            ),
            Exchange(
                "And a rental car? I have to get to work.",
                "Your policy covers one, up to ${amount} in total. You can pick it up in {city} from {time} tomorrow.",
                Tool(
                    "check_coverage",
                    '{{"policy":"{order}","item":"rental"}}',
                    '{{"covered":true,"limit":{amount}}}',
                ),
            ),
        ),
        (
            "First notice of loss: parked car hit in {city}. Claim C-{order} opened, photos requested.",
            "{first} {last} reported damage; adjuster to call by {date}. Rental up to ${amount} approved.",
            "Claim intake completed; no injuries.",
        ),
    ),
    Topic(
        "Kai – Reminders",
        "reminder",
        _STYLE + "You call customers whose payment of ${amount} is due on {date}. Offer help, never threaten.",
        "Hello, this is Kai from Harbour & Vale. Am I speaking with {first} {last}?",
        (
            Exchange(
                "Yes, that's me. What is this about?",
                "It's only a friendly reminder: ${amount} for the {product} is due on {date}. Would you like to settle "
                "it now?",
            ),
            Exchange(
                "I thought I'd already paid that.",
                "Let me check. I don't see a payment yet, but it can take two days to arrive. I'll note that you've "
                "sent it.",
                Tool("find_payment", '{{"reference":"{order}","amount":{amount}}}', '{{"found":false}}'),
            ),
            Exchange(
                "Please don't call me at work again.",
                "Understood. I've removed this number for daytime calls. We'll only write to you from now on.",
                Tool("set_preference", '{{"channel":"email","quiet_hours":true}}', '{{"ok":true}}'),
            ),
            Exchange(
                "Fine, I'll pay it on Friday then.",
                "Thank you, {first}. I've noted Friday. You won't hear from us before that. 🙂",
            ),
        ),
        (
            "Reminder about ${amount} due {date}. Customer promised payment on Friday.",
            "Customer says payment was sent; reference {order} not found yet.",
            "Contact preference changed to email.",
        ),
    ),
)

SMALL_TALK: Final = (
    Exchange("Sorry, could you repeat that?", "Of course. I said we have everything noted for {date}, {first}."),
    Exchange("Mm-hm.", "Is there anything else I can do for you today?"),
    Exchange("Hold on a second… okay, I'm back.", "No rush, take your time."),
    Exchange("Can I talk to a real person?", "I can connect you. May I try to help first, so you don't have to wait?"),
    Exchange(
        "It's spelled {last}, with the usual spelling.", "Thank you, I have {last} here, and {city} as your town."
    ),
    Exchange("Great, that's all. Thanks!", "You're welcome, {first}. Have a good day!"),
)
