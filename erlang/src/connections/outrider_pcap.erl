%%% Frames of a WebSocket as a file that Wireshark and its like read. Pure.
%%%
%%% The format is pcap, with microseconds, and the link type "exported PDU" (LINKTYPE_WIRESHARK_UPPER_PDU): before each frame
%%% stand tags which say that the dissector is Wireshark's for WebSocket, and whose frame it is. Frames are as they were on
%%% the wire; what was not recorded of them is missing as it is where a capture has a limit (snaplen).
%%% Sources: "Link-layer header types" of tcpdump.org; Wireshark's epan/exported_pdu.h.
-module(outrider_pcap).

-export([header/0, tags/1, packet/5]).

-define(MAGIC, 16#a1b2c3d4).
-define(LINKTYPE_WIRESHARK_UPPER_PDU, 252).
-define(SNAPLEN, 262144).

-define(TAG_END, 0).
-define(TAG_DISSECTOR, 12).
-define(TAG_IPV4_SOURCE, 20).
-define(TAG_IPV4_DESTINATION, 21).
-define(TAG_IPV6_SOURCE, 22).
-define(TAG_IPV6_DESTINATION, 23).
-define(TAG_PORT_TYPE, 24).
-define(TAG_SOURCE_PORT, 25).
-define(TAG_DESTINATION_PORT, 26).
-define(PORT_TYPE_TCP, 2).

%% The beginning of a file.
-spec header() -> binary().
header() ->
    <<?MAGIC:32, 2:16, 4:16, 0:32, 0:32, ?SNAPLEN:32, ?LINKTYPE_WIRESHARK_UPPER_PDU:32>>.

%% What stands before the frames of each direction. Our own address is not known: it is all zeros.
-spec tags(#{peer := {inet:ip_address(), inet:port_number()} | {local, binary()}, _ => _}) -> #{in | out => binary()}.
tags(#{peer := {local, _}}) ->
    #{in => encoded([]), out => encoded([])};
tags(#{peer := {Ip, Port}}) when tuple_size(Ip) =:= 4 ->
    Address = << <<Part>> || Part <- tuple_to_list(Ip) >>,
    #{
        in => encoded([{?TAG_IPV4_SOURCE, Address}, {?TAG_IPV4_DESTINATION, <<0:32>>} | ports(Port, 0)]),
        out => encoded([{?TAG_IPV4_SOURCE, <<0:32>>}, {?TAG_IPV4_DESTINATION, Address} | ports(0, Port)])
    };
tags(#{peer := {Ip, Port}}) ->
    Address = << <<Part:16>> || Part <- tuple_to_list(Ip) >>,
    #{
        in => encoded([{?TAG_IPV6_SOURCE, Address}, {?TAG_IPV6_DESTINATION, <<0:128>>} | ports(Port, 0)]),
        out => encoded([{?TAG_IPV6_SOURCE, <<0:128>>}, {?TAG_IPV6_DESTINATION, Address} | ports(0, Port)])
    }.

encoded(Tags) ->
    iolist_to_binary([tag(Tag, Value) || {Tag, Value} <- [{?TAG_DISSECTOR, <<"websocket">>} | Tags] ++ [{?TAG_END, <<>>}]]).

ports(Source, Destination) ->
    [{?TAG_PORT_TYPE, <<?PORT_TYPE_TCP:32>>}, {?TAG_SOURCE_PORT, <<Source:32>>}, {?TAG_DESTINATION_PORT, <<Destination:32>>}].

%% Values are filled up to a multiple of four bytes.
tag(Tag, Value) ->
    Length = (byte_size(Value) + 3) div 4 * 4,
    [<<Tag:16, Length:16>>, Value, <<0:(8 * (Length - byte_size(Value)))>>].

%% One frame: when its header passed (microseconds since 1970), the header, the length of its payload, the beginning of that.
-spec packet(non_neg_integer(), Tags :: binary(), binary(), non_neg_integer(), binary()) -> iodata().
packet(Time, Tags, Header, Size, Content) ->
    Around = byte_size(Tags) + byte_size(Header),
    Recorded = Around + byte_size(Content),
    OnTheWire = min(Around + Size, 16#ffffffff),
    [<<(Time div 1000000):32, (Time rem 1000000):32, Recorded:32, OnTheWire:32>>, Tags, Header, Content].
