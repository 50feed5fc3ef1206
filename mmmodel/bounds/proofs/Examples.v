(** The definitions at work: 4 requests of chunks 4, 4, 3. A reserve of 23 is safe, 24 is not, and 35 and more are: the definitions are
    neither empty nor always true, and more reserve can bring a deadlock back. *)
From Coq Require Import Arith Lia.
From mmmodel Require Import System Sums StuckState Safe RES8 RES2.

Definition chunks (j : nat) : nat := match j with 0 => 4 | 1 => 4 | _ => 3 end.

Example deadlock_at_24 : deadlock_reachable (one_class 4 3 chunks 24).
Proof.
  apply deadlock_iff_stuck_state. exists (fun _ j => match j with 0 => 0 | _ => 2 end). split; [|split; [|split]].
  - intros k Hk. simpl in *. lia.
  - intros p _. cbv. lia.
  - exists 0, 1. cbv. lia.
  - intros k j [Hk [Hj P]]. simpl in Hk, Hj. replace k with 0 by lia.
    destruct j as [|[|[|j]]]; try lia; (split; exists 0; cbv; lia).
Qed.

Example safe_at_23 : safe (one_class 4 3 chunks 23).
Proof.
  apply safe_iff_no_deadlock. split.
  - intros D. apply deadlock_iff_stuck_state in D. destruct D as [n [Hd [Hc [[k [j O]] H]]]].
    specialize (Hd 0 Nat.lt_0_1). specialize (Hc 0 Nat.lt_0_1).
    assert (forall i, i < 3 -> 0 < n 0 i -> 0 < i /\ 23 < used (one_class 4 3 chunks 23) n 0 + chunks i) as B.
    { intros i Hi P. destruct (H 0 i) as [[p [_ Q]] [p' [_ E]]]; [repeat split; simpl; lia|]. cbn [take capacity one_class one_reserve] in E.
      split; [|destruct p' as [|p']; exact E]. destruct i; [cbv in Q; lia|lia]. }
    assert (used (one_class 4 3 chunks 23) n 0 = n 0 1 * 4 + n 0 2 * 8) as U by (unfold used, holds; simpl; lia).
    rewrite U in *. simpl in Hd, Hc.
    pose proof (B 0) as B0. pose proof (B 1) as B1. pose proof (B 2) as B2. simpl in B0, B1, B2.
    destruct O as [Hk [Hj P]]. simpl in Hk, Hj. replace k with 0 in P by lia.
    assert (j = 0 \/ j = 1 \/ j = 2) as [-> | [-> | ->]] by lia; lia.
  - intros k p _ _ _. cbv. lia.
Qed.

Example safe_from_35_on : least_from_which_on (fun R => safe (one_class 4 3 chunks R)) 35.
Proof. apply (RES_2 4 3 chunks); try lia. intros j _. destruct j as [|[|j]]; simpl; lia. Qed.
