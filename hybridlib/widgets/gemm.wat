;; C = A B^T + bias in single precision: the one loop that a model spends its time in.
;;
;; `multiply` takes a tile of 4 rows of A and 2 rows of B at a time and 4 numbers of each at once, so that 6 loads serve 8
;; products of vectors. Rows of A and B lie together; leading sizes (lda, ldb, ldc) are the steps between rows. Positions
;; and steps are in bytes. At the edges a row is taken twice and the same result written twice, which saves all special cases.
;; A bias of 0 is none; else it is the position of n numbers, one for each column of C.
;;
;; live_gemm.js holds the compiled bytes. Make them anew:
;;   npm install wabt@1.0.39 && npx wat2wasm gemm.wat -o gemm.wasm && base64 -w 0 gemm.wasm
(module
  (import "live" "memory" (memory 1))

  ;; The sums of the 4 numbers in each of 4 vectors, side by side.
  (func $sums (param $p v128) (param $q v128) (param $r v128) (param $s v128) (result v128)
    (local $u v128) (local $v v128)
    (local.set $u (f32x4.add
      (i8x16.shuffle 0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23 (local.get $p) (local.get $q))
      (i8x16.shuffle 8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31 (local.get $p) (local.get $q))))
    (local.set $v (f32x4.add
      (i8x16.shuffle 0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23 (local.get $r) (local.get $s))
      (i8x16.shuffle 8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31 (local.get $r) (local.get $s))))
    (f32x4.add
      (i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23 (local.get $u) (local.get $v))
      (i8x16.shuffle 8 9 10 11 12 13 14 15 24 25 26 27 28 29 30 31 (local.get $u) (local.get $v))))

  ;; The row `i`, or the last of `count` rows.
  (func $row (param $start i32) (param $step i32) (param $i i32) (param $count i32) (result i32)
    (i32.add (local.get $start) (i32.mul (local.get $step)
      (select (local.get $i) (i32.sub (local.get $count) (i32.const 1)) (i32.lt_u (local.get $i) (local.get $count))))))

  (func (export "multiply")
    (param $m i32) (param $n i32) (param $k i32)
    (param $a i32) (param $lda i32) (param $b i32) (param $ldb i32) (param $c i32) (param $ldc i32) (param $bias i32)
    (local $i i32) (local $j i32) (local $at i32) (local $end i32) (local $tail i32)
    (local $a0 i32) (local $a1 i32) (local $a2 i32) (local $a3 i32) (local $b0 i32) (local $b1 i32)
    (local $x0 v128) (local $x1 v128) (local $x2 v128) (local $x3 v128) (local $y v128)
    (local $s00 v128) (local $s10 v128) (local $s20 v128) (local $s30 v128)
    (local $s01 v128) (local $s11 v128) (local $s21 v128) (local $s31 v128)
    (local $c0 i32) (local $c1 i32) (local $c2 i32) (local $c3 i32)
    (local.set $end (i32.shl (i32.and (local.get $k) (i32.const -4)) (i32.const 2)))
    (local.set $tail (i32.shl (local.get $k) (i32.const 2)))
    (loop $rows
      (local.set $a0 (call $row (local.get $a) (local.get $lda) (local.get $i) (local.get $m)))
      (local.set $a1 (call $row (local.get $a) (local.get $lda) (i32.add (local.get $i) (i32.const 1)) (local.get $m)))
      (local.set $a2 (call $row (local.get $a) (local.get $lda) (i32.add (local.get $i) (i32.const 2)) (local.get $m)))
      (local.set $a3 (call $row (local.get $a) (local.get $lda) (i32.add (local.get $i) (i32.const 3)) (local.get $m)))
      (local.set $c0 (call $row (local.get $c) (local.get $ldc) (local.get $i) (local.get $m)))
      (local.set $c1 (call $row (local.get $c) (local.get $ldc) (i32.add (local.get $i) (i32.const 1)) (local.get $m)))
      (local.set $c2 (call $row (local.get $c) (local.get $ldc) (i32.add (local.get $i) (i32.const 2)) (local.get $m)))
      (local.set $c3 (call $row (local.get $c) (local.get $ldc) (i32.add (local.get $i) (i32.const 3)) (local.get $m)))
      (local.set $j (i32.const 0))
      (loop $columns
        (local.set $b0 (call $row (local.get $b) (local.get $ldb) (local.get $j) (local.get $n)))
        (local.set $b1 (call $row (local.get $b) (local.get $ldb) (i32.add (local.get $j) (i32.const 1)) (local.get $n)))
        (local.set $s00 (v128.const i64x2 0 0)) (local.set $s10 (v128.const i64x2 0 0))
        (local.set $s20 (v128.const i64x2 0 0)) (local.set $s30 (v128.const i64x2 0 0))
        (local.set $s01 (v128.const i64x2 0 0)) (local.set $s11 (v128.const i64x2 0 0))
        (local.set $s21 (v128.const i64x2 0 0)) (local.set $s31 (v128.const i64x2 0 0))
        (local.set $at (i32.const 0))
        (if (local.get $end) (then
          (loop $four
            (local.set $x0 (v128.load (i32.add (local.get $a0) (local.get $at))))
            (local.set $x1 (v128.load (i32.add (local.get $a1) (local.get $at))))
            (local.set $x2 (v128.load (i32.add (local.get $a2) (local.get $at))))
            (local.set $x3 (v128.load (i32.add (local.get $a3) (local.get $at))))
            (local.set $y (v128.load (i32.add (local.get $b0) (local.get $at))))
            (local.set $s00 (f32x4.add (local.get $s00) (f32x4.mul (local.get $x0) (local.get $y))))
            (local.set $s10 (f32x4.add (local.get $s10) (f32x4.mul (local.get $x1) (local.get $y))))
            (local.set $s20 (f32x4.add (local.get $s20) (f32x4.mul (local.get $x2) (local.get $y))))
            (local.set $s30 (f32x4.add (local.get $s30) (f32x4.mul (local.get $x3) (local.get $y))))
            (local.set $y (v128.load (i32.add (local.get $b1) (local.get $at))))
            (local.set $s01 (f32x4.add (local.get $s01) (f32x4.mul (local.get $x0) (local.get $y))))
            (local.set $s11 (f32x4.add (local.get $s11) (f32x4.mul (local.get $x1) (local.get $y))))
            (local.set $s21 (f32x4.add (local.get $s21) (f32x4.mul (local.get $x2) (local.get $y))))
            (local.set $s31 (f32x4.add (local.get $s31) (f32x4.mul (local.get $x3) (local.get $y))))
            (br_if $four (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (local.get $end))))))
        (if (i32.lt_u (local.get $at) (local.get $tail)) (then
          (loop $one ;; as above with one number and three zeros
            (local.set $x0 (v128.load32_zero (i32.add (local.get $a0) (local.get $at))))
            (local.set $x1 (v128.load32_zero (i32.add (local.get $a1) (local.get $at))))
            (local.set $x2 (v128.load32_zero (i32.add (local.get $a2) (local.get $at))))
            (local.set $x3 (v128.load32_zero (i32.add (local.get $a3) (local.get $at))))
            (local.set $y (v128.load32_zero (i32.add (local.get $b0) (local.get $at))))
            (local.set $s00 (f32x4.add (local.get $s00) (f32x4.mul (local.get $x0) (local.get $y))))
            (local.set $s10 (f32x4.add (local.get $s10) (f32x4.mul (local.get $x1) (local.get $y))))
            (local.set $s20 (f32x4.add (local.get $s20) (f32x4.mul (local.get $x2) (local.get $y))))
            (local.set $s30 (f32x4.add (local.get $s30) (f32x4.mul (local.get $x3) (local.get $y))))
            (local.set $y (v128.load32_zero (i32.add (local.get $b1) (local.get $at))))
            (local.set $s01 (f32x4.add (local.get $s01) (f32x4.mul (local.get $x0) (local.get $y))))
            (local.set $s11 (f32x4.add (local.get $s11) (f32x4.mul (local.get $x1) (local.get $y))))
            (local.set $s21 (f32x4.add (local.get $s21) (f32x4.mul (local.get $x2) (local.get $y))))
            (local.set $s31 (f32x4.add (local.get $s31) (f32x4.mul (local.get $x3) (local.get $y))))
            (br_if $one (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4))) (local.get $tail))))))
        (local.set $x0 (call $sums (local.get $s00) (local.get $s10) (local.get $s20) (local.get $s30)))
        (local.set $x1 (call $sums (local.get $s01) (local.get $s11) (local.get $s21) (local.get $s31)))
        (local.set $b0 (call $row (i32.const 0) (i32.const 4) (local.get $j) (local.get $n))) ;; now columns of C
        (local.set $b1 (call $row (i32.const 0) (i32.const 4) (i32.add (local.get $j) (i32.const 1)) (local.get $n)))
        (if (local.get $bias) (then
          (local.set $x0 (f32x4.add (local.get $x0) (v128.load32_splat (i32.add (local.get $bias) (local.get $b0)))))
          (local.set $x1 (f32x4.add (local.get $x1) (v128.load32_splat (i32.add (local.get $bias) (local.get $b1)))))))
        (v128.store32_lane 0 (i32.add (local.get $c0) (local.get $b0)) (local.get $x0))
        (v128.store32_lane 1 (i32.add (local.get $c1) (local.get $b0)) (local.get $x0))
        (v128.store32_lane 2 (i32.add (local.get $c2) (local.get $b0)) (local.get $x0))
        (v128.store32_lane 3 (i32.add (local.get $c3) (local.get $b0)) (local.get $x0))
        (v128.store32_lane 0 (i32.add (local.get $c0) (local.get $b1)) (local.get $x1))
        (v128.store32_lane 1 (i32.add (local.get $c1) (local.get $b1)) (local.get $x1))
        (v128.store32_lane 2 (i32.add (local.get $c2) (local.get $b1)) (local.get $x1))
        (v128.store32_lane 3 (i32.add (local.get $c3) (local.get $b1)) (local.get $x1))
        (br_if $columns (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 2))) (local.get $n))))
      (br_if $rows (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (local.get $m))))))
