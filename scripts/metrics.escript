#!/usr/bin/env escript
%% Writes the list of metrics in docs/metrics.md anew from outrider_metrics_table.
%%
%% usage: ERL_LIBS=_build/default/lib metrics.escript [--check]
%%
%% With --check it changes nothing, and exits with 1 where the list is not what the code has.
-mode(compile).

-define(BEGIN, "<!-- scripts/metrics.escript writes this -->\n").
-define(END, "<!-- to here -->\n").

main(Args) ->
    Path = filename:join([filename:dirname(filename:dirname(filename:absname(escript:script_name()))), "docs", "metrics.md"]),
    {ok, Page} = file:read_file(Path),
    [Before, Rest] = binary:split(Page, <<?BEGIN>>),
    [_, After] = binary:split(Rest, <<?END>>),
    New = iolist_to_binary([Before, ?BEGIN, table(), ?END, After]),
    case Args of
        [] -> ok = file:write_file(Path, New);
        ["--check"] when New =:= Page -> ok;
        ["--check"] -> io:format(standard_error, "metrics: ~ts is not what the code has~n", [Path]), halt(1)
    end.

table() ->
    [
        "| key | Prometheus | |\n|---|---|---|\n",
        [row(Row) || Row <- outrider_metrics_table:rows()],
        "\nLabels of `limits_reached`: ",
        lists:join(", ", [["`", atom_to_list(Limit), "`"] || Limit <- outrider_metrics_table:limits()]),
        ".\n"
    ].

row(#{key := Key, type := Type, unit := Unit, name := Name, help := Help} = Row) ->
    By = [atom_to_binary(By) || #{by := By} <- [Row]],
    Fixed = [[atom_to_binary(Label), "=\"", Value, "\""] || {Label, Value} <- maps:get(labels, Row, [])],
    Labels = case Fixed ++ By of [] -> ""; Some -> ["{", lists:join(",", Some), "}"] end,
    What = [atom_to_binary(Type) || Type =/= counter] ++ [atom_to_binary(Unit) || Unit =/= none]
        ++ [["by ", Label] || Label <- By] ++ ["the VM's" || #{from := vm} <- [Row]],
    About = [["(", lists:join(", ", What), ")"] || What =/= []],
    ["| `", atom_to_binary(Key), "` | `", Name, Labels, "` | ", lists:join(" ", [Help || Help =/= <<>>] ++ About), " |\n"].
